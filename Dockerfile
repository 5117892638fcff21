# docker build --target cpu --build-arg TORCH_INDEX=URL -t img2img .    (URL: PyTorch's index of wheels for CPUs)
# docker build --target cuda -t img2img:cuda .
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" img2img upscale photos -o big
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS wheel
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/build && /opt/build/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

# What changes seldom: libraries that OpenCV's windows need, the user, what setup.cfg requires
FROM ${BASE} AS base
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 img2img \
    && mkdir /data /home/img2img/.cache \
    && chmod 1777 /home/img2img /home/img2img/.cache \
    && chown img2img:img2img /data \
    && python3 -m venv /opt/img2img
ENV PATH=/opt/img2img/bin:$PATH HOME=/home/img2img NO_ALBUMENTATIONS_UPDATE=1
ARG EXTRAS=""
COPY setup.cfg /opt/src/setup.cfg
COPY tools/packaging/requirements.py /opt/src/tools/packaging/requirements.py
# hadolint ignore=SC2086
RUN python3 /opt/src/tools/packaging/requirements.py ${EXTRAS} > /opt/src/requirements.txt

# The wheels of the usual index bring CUDA; TORCH_INDEX may name PyTorch's index of those for CPUs
FROM base AS program
ARG TORCH=2.14.1
ARG TORCHVISION=0.29.1
ARG TORCH_INDEX=""
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} "torch==${TORCH}" "torchvision==${TORCHVISION}" \
    && pip install --no-cache-dir -r /opt/src/requirements.txt
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist pip install --no-cache-dir --no-deps /dist/*.whl
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["img2img"]
CMD ["--help"]

FROM program AS cpu

# From the host come the driver and the NVIDIA Container Toolkit: docker run --gpus all
FROM program AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

"""A server of S3: what moto answers as the real one does, read and written through s3fs."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow
fsspec = pytest.importorskip("fsspec", reason="the extra remote is not installed")
pytest.importorskip("s3fs", reason="the extra remote is not installed")
pytest.importorskip("flask_cors", reason="moto[server] is not installed")
pytest.importorskip("moto", reason="moto[server] is not installed")

from img2img import remote  # noqa: E402
from img2img.batch import Rules, Shard, convert_folder  # noqa: E402
from img2img.errors import PlanError  # noqa: E402
from img2img.image import Image, encode, read_image  # noqa: E402

NAMES = ["a/1.png", "a/2.png", "b c/ü.png", "d.png"]


class Invert:
    def group_key(self, image):
        return image.pixels.shape

    def __call__(self, images):
        return [image.replace(pixels=255 - image.pixels) for image in images]


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(server, monkeypatch):
    """Yields the file system of a server with an empty bucket, called bucket."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    kind = fsspec.get_filesystem_class("s3")
    kind.clear_instance_cache()
    remote._files.cache_clear()
    files = remote._files("s3")
    files.mkdir("bucket")
    yield files
    files.rm("bucket", recursive=True)
    kind.clear_instance_cache()
    remote._files.cache_clear()


def picture(seed):
    import numpy as np

    return encode(Image(np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)), ".png")


def fill(s3):
    for i, name in enumerate(NAMES):
        s3.pipe_file(f"bucket/in/{name}", picture(i))


def outputs(s3, folder="bucket/out"):
    found = s3.find(folder)
    return {name.removeprefix(f"{folder}/"): s3.cat_file(name) for name in found if "/.img2img/" not in name}


def convert(**options):
    return convert_folder("s3://bucket/in", "s3://bucket/out", Invert(), settings={}, **options)


def test_in_and_out_are_those_of_folders(s3, tmp_path):
    fill(s3)
    s3.pipe_file("bucket/in/bad.png", b"no picture")
    first = convert()
    assert (first.done, first.failed) == (4, 1)
    assert [str(path) for path, _ in first.failures] == ["s3://bucket/in/bad.png"]
    s3.get("bucket/in", str(tmp_path / "in"), recursive=True)
    convert_folder(tmp_path / "in", tmp_path / "out", Invert(), settings={})
    assert outputs(s3) == {name: (tmp_path / "out" / name).read_bytes() for name in NAMES}
    second = convert()
    assert (second.done, second.skipped) == (0, 4)
    s3.pipe_file("bucket/in/d.png", picture(9))
    s3.rm_file("bucket/out/a/1.png")
    s3.pipe_file("bucket/out/a/2.png", b"edited")
    s3.pipe_file("bucket/in/e.png", picture(5))
    s3.pipe_file("bucket/out/e.png", b"foreign")
    third = convert()
    assert (third.done, third.skipped, third.failed) == (2, 2, 2)
    assert outputs(s3)["a/2.png"] == b"edited" and outputs(s3)["e.png"] == b"foreign"


def test_shards_share_a_bucket(s3):
    fill(s3)
    for index in (1, 2):
        convert(rules=Rules(shard=Shard(index, 2)))
    assert sorted(outputs(s3)) == sorted(NAMES)
    assert convert().skipped == 4


def test_what_is_large_is_put_from_a_file_and_appears_as_a_whole(s3, monkeypatch):
    """The upload is cut off once: then there is no object, and the file is told by name."""
    monkeypatch.setattr(remote, "_IN_ONE_PIECE", 100)
    s3.pipe_file("bucket/in/a.png", picture(1))

    def put_file(*_, **__):
        raise ConnectionError("the connection was lost")

    with monkeypatch.context() as cut:
        cut.setattr(s3, "put_file", put_file)
        summary = convert()
        assert summary.failed == 1 and "the connection was lost" in summary.failures[0][1]
        assert outputs(s3) == {}
    assert convert().done == 1
    assert (
        255 - read_image("s3://bucket/in/a.png").pixels == read_image("s3://bucket/out/a.png").pixels
    ).all()


def test_what_cannot_be_reached_is_a_sentence(s3):
    fill(s3)
    with pytest.raises(PlanError, match=r"the output folder s3://nobody/out cannot be written: "):
        convert_folder("s3://bucket/in", "s3://nobody/out", Invert(), settings={})
    with pytest.raises(PlanError, match=r"there is no such file or folder: s3://bucket/nothing\."):
        convert_folder("s3://bucket/nothing", "s3://bucket/out", Invert(), settings={})


def test_the_command_over_a_cluster(s3):
    pytest.importorskip("ray", reason="the extra ray is not installed")
    fill(s3)
    command = ["process", "s3://bucket/in", "-o", "s3://bucket/out", "--op", "grayscale", "--json"]
    for expected in ((4, 0), (0, 4)):
        done = subprocess.run(
            [sys.executable, "-m", "img2img", *command, "--cluster", "ray", "--workers", "2"],
            capture_output=True,
            text=True,
        )
        assert done.stdout, done.stderr
        summary = json.loads(done.stdout)
        assert (summary["done"], summary["skipped"]) == expected, done.stderr
    assert sorted(outputs(s3)) == sorted(NAMES)

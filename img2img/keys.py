"""The names that other programs have for keys of a configuration, and what is nearest to a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

_MEANT = {
    "training.learning_rate": "lr rate base_lr lr_g lr_generator init_lr initial_lr",
    "training.learning_rates.discriminator": "lr_d lr_discriminator d_lr",
    "training.epochs": "epoch n_epochs num_epochs nepochs max_epochs niter",
    "training.steps": "step n_steps num_steps max_steps total_steps iterations "
    "iteration iters n_iters num_iters max_iter max_iters total_iter total_iters",
    "training.batch_size": "bs batch batchsize batches mini_batch minibatch batch_size_per_gpu",
    "training.optimizer": "optim opt optimiser",
    "training.betas": "beta beta1 beta2 momentum",
    "training.weight_decay": "wd decay l2",
    "training.clip_norm": "clip grad_clip clip_grad gradient_clip max_norm max_grad_norm",
    "training.ema": "ema_decay ema_rate",
    "training.schedule.kind": "scheduler lr_policy lr_schedule lr_scheduler policy",
    "training.schedule.decay_epochs": "n_epochs_decay niter_decay epochs_decay",
    "training.schedule.warmup": "warmup warmup_steps warm_up",
    "training.device": "gpu gpu_ids gpu_id cuda accelerator",
    "training.devices": "gpus num_gpu num_gpus n_gpus ngpu world_size",
    "training.precision": "amp fp16 bf16 half mixed_precision dtype use_amp",
    "training.log_every": "print_freq log_freq log_interval print_every log_every_n_steps",
    "training.sample_every": "display_freq sample_freq sample_interval save_images_every",
    "training.validate_every": "val_every val_freq eval_every eval_freq val_interval val_check_interval",
    "training.save_every": "save_epoch_freq save_freq save_interval save_latest_freq "
    "checkpoint_every save_checkpoint_freq",
    "training.initial.generator": "pretrained pretrain pretrain_network_g weights init_from "
    "finetune checkpoint",
    "training.threads": "n_threads_cpu cpu_threads",
    "data.crop_size": "size image_size img_size imgsize imagesize input_size "
    "resolution res fine_size finesize patch_size patch gt_size crop cropsize",
    "data.load_size": "loadsize resize_to scale_size resize_size",
    "data.fit": "preprocess resize_mode resize_or_crop keep_ratio keep_proportions keep_aspect "
    "keep_aspect_ratio aspect_ratio proportions squeeze letterbox",
    "data.workers": "num_workers n_workers num_threads nthreads n_threads num_worker num_worker_per_gpu",
    "data.flip": "no_flip hflip horizontal_flip use_hflip mirror",
    "data.source_channels": "input_nc input_channels in_channels n_channels in_nc num_in_ch",
    "data.target_channels": "output_nc output_channels out_channels out_nc num_out_ch",
    "data.validation_fraction": "val_fraction val_split validation_split val_size test_size split",
    "data.augment": "augmentation augmentations transforms",
    "method.name": "model method_name",
    "method.generator.name": "netg net_g network network_g which_model_netg arch architecture backbone",
    "method.generator.features": "features ngf nf num_feat feature filters num_filters "
    "n_filters width base_channels",
    "method.generator.downs": "downs num_downs levels depth n_downs n_downsample_global",
    "method.generator.blocks": "blocks n_blocks num_blocks num_block nb res_blocks n_blocks_global",
    "method.generator.norm": "norm norm_layer normalization normalisation",
    "method.generator.dropout": "dropout no_dropout use_dropout",
    "method.discriminator.name": "netd net_d network_d which_model_netd",
    "method.discriminator.features": "ndf",
    "method.discriminator.layers": "layers n_layers_d n_layers num_layers",
    "method.gan": "gan_mode gan_loss gan_type no_lsgan",
    "method.gan_weight": "lambda_gan gan_lambda adversarial_weight lambda_adv",
    "method.pixel_weight": "lambda_l1 l1_weight lambda_pixel l1_lambda lambda_rec pixel_lambda lambda_l2",
    "method.pixel_loss": "loss pixel_criterion criterion loss_type",
    "method.identity": "lambda_identity lambda_idt identity_weight lambda_id",
    "method.lambda_a": "lambda_cycle cycle_weight lambda_cyc",
    "method.perceptual.weight": "lambda_vgg vgg_weight perceptual_weight lambda_perceptual lpips",
    "data.palette": "label_nc n_classes num_classes classes label_colours",
    "method.generator.enhancers": "n_local_enhancers local_enhancers",
    "method.generator.local_blocks": "n_blocks_local",
    "method.generator.style": "feat_num instance_feat",
    "method.generator.clusters": "n_clusters",
    "method.discriminator.scales": "num_d num_scales n_scales",
    "method.encoder_features": "nef",
    "method.feature_matching": "lambda_feat lambda_fm",
    "method.vgg_weight": "no_vgg_loss",
    "training.stages": "niter_fix_global",
    "method.pool": "pool_size pool_size_d buffer_size",
    "method.scale": "upscale upscale_factor scale_factor sr_scale factor",
    "method.init.kind": "init_type weight_init",
    "method.init.gain": "init_gain",
    "seed": "manual_seed random_seed rng_seed",
}  # without case and with _ for -
_USUAL = {name: key for key, names in _MEANT.items() for name in names.split()}


def meant(name: str) -> str | None:
    """Returns the whole key that people mean who write `name`, as other programs call it; None if unknown."""
    return _USUAL.get(name.lower().replace("-", "_"))


def closest(name: str, known: Iterable[str] | Mapping[str, str]) -> str | None:
    """Returns the one of `known` that is meant by `name`: a usual other name of it, or one like it.

    Args:
        name: What was written.
        known: Names, without the sections that they are in; or a mapping of them, whose values are returned.
    """
    names = known if isinstance(known, Mapping) else {each: each for each in known}
    whole = meant(name)
    if whole is not None and (last := whole.rpartition(".")[2]) in names:
        return names[last]
    near = difflib.get_close_matches(name, names, n=1)
    return names[near[0]] if near else None


def unknown(kind: str, name: str, known: object) -> str:
    """Returns the sentence for a `name` that is not among `known` (an iterable of names)."""
    names = sorted(known)  # type: ignore[call-overload]
    near = closest(name, names)
    hint = f"did you mean {near!r}?" if near else f"known are: {', '.join(names) or 'none'}."
    shown = name if len(name) <= 80 else f"{name[:76]} ..."
    return f"there is no {kind} {shown!r}; {hint}"

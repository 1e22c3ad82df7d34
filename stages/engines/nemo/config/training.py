"""The sections of training: fields of Megatron-Bridge 0.6.2's configuration that no stage changes.

Each is written out, so that a default that moves in a later version moves nothing here. The loop, its learning rate,
its stop, its checkpoints and its metrics are the project's own, so what of Bridge's would do the same is off.
"""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]

TRAIN: Fields = {
    "rampup_batch_size": None,  # the ledger counts ramps, to the last token
    "step_batch_size_schedule": None,
    "decrease_batch_size_if_needed": False,
    "train_samples": None,
    "num_epochs": None,
    "iterations_to_skip": [],
    "exit_interval": None,
    "exit_duration_in_mins": None,
    "exit_signal_handler": False,
    "exit_signal": "SIGTERM",
    "exit_signal_handler_for_dataloader": False,
    "exit_signal_handler_for_training": False,
    "check_optimizer_step_success": True,
    "skip_sync_grad_norm_across_mp": False,
    "check_weight_hash_across_dp_replicas_interval": None,
    "gpu_sniff_test_interval": None,
    "train_sync_interval": None,
    "empty_unused_memory_level": 0,
    "manual_gc": False,
    "manual_gc_interval": 0,
    "manual_gc_eval": True,
    "eval_iters": None,
    "eval_interval": None,
    "skip_train": None,
}

VALIDATION: Fields = {  # stages.evals evaluates, before and after
    "eval_iters": 0,
    "eval_interval": None,
    "start_eval_at_iter": None,
    "skip_train": False,
    "test_mode": False,
    "full_validation": False,
    "multiple_validation_sets": False,
    "validation_set_names": None,
}

OPTIMIZER: Fields = {
    "optimizer": "adam",  # of Muon too: what it does not orthogonalise; the rest is the project's own optimizer
    "min_lr": 0.0,
    "decoupled_lr": None,
    "decoupled_min_lr": None,
    "decoupled_weight_decay": True,
    "apply_wd_to_qk_layernorm": False,
    "fp16": False,
    "fp8_recipe": None,
    "params_dtype": "float32",
    "use_precision_aware_optimizer": False,
    "store_param_remainders": False,
    "main_grads_dtype": "float32",
    "main_params_dtype": "float32",
    "exp_avg_dtype": "float32",
    "exp_avg_sq_dtype": "float32",
    "loss_scale": None,
    "initial_loss_scale": 1.0,
    "min_loss_scale": 1.0,
    "loss_scale_window": 1000.0,
    "hysteresis": 2,
    "sgd_momentum": 0.0,
    "muon_split_qkv": True,
    "muon_scale_mode": "spectral",
    "muon_fp32_matmul_prec": "highest",
    "muon_coefficient_type": "quintic",
    "muon_tp_mode": "blockwise",
    "muon_extra_scale_factor": 1.0,
    "muon_scalar_optimizer": "adam",
    "lion_beta1": 0.95,
    "lion_beta2": 0.98,
    "soap_shampoo_beta": 0.95,
    "soap_precondition_frequency": 1,
    "soap_use_kl_shampoo": True,
    "adaptive_muon_moment2_method": "adamuon",
    "adaptive_muon_beta2": 0.95,
    "adaptive_muon_eps": 1e-8,
    "reuse_grad_buf_for_mxfp8_param_ag": False,
    "use_layer_wise_distributed_optimizer": False,
    "overlap_param_gather": False,
    "overlap_param_gather_with_optimizer_step": False,
    "optimizer_cpu_offload": False,
    "optimizer_offload_fraction": 0.0,
    "use_torch_optimizer_for_cpu_offload": False,
    "overlap_cpu_optimizer_d2h_h2d": False,
    "pin_cpu_grads": True,
    "pin_cpu_params": True,
    "grad_norm_skip_threshold": float("inf"),  # nothing is skipped: what is not finite stops the run
    "log_num_zeros_in_grad": False,
    "barrier_with_L1_time": False,
    "config_logger_dir": "",
    "optimizer_cuda_graph": False,
}

SCHEDULER: Fields = {  # the rate of each step is set by the loop: Bridge's scheduler multiplies by one
    "lr_decay_style": "constant",
    "lr_wsd_decay_style": "linear",
    "lr_decay_samples": None,
    "lr_wsd_decay_iters": None,
    "lr_wsd_decay_samples": None,
    "lr_warmup_fraction": None,
    "lr_warmup_iters": 0,
    "lr_warmup_samples": 0,
    "lr_warmup_init": 0.0,
    "override_opt_param_scheduler": True,  # nor may a checkpoint's
    "use_checkpoint_opt_param_scheduler": False,
    "weight_decay_incr_style": "constant",
    "no_weight_decay_cond_type": None,
    "max_steps": None,
}

DDP: Fields = {
    "grad_reduce_in_fp32": True,
    "average_in_collective": False,  # gradients are sums over tokens, divided once
    "gradient_reduce_div_fusion": False,
    "overlap_grad_reduce": False,
    "overlap_param_gather": False,
    "align_param_gather": False,
    "num_distributed_optimizer_instances": 1,
    "check_for_nan_in_grad": False,  # the loop looks before any update, and stops with a finding
    "check_for_large_grads": False,
    "bucket_size": None,  # all gradients of a group in one: there is nothing to overlap
    "num_buckets": None,
    "pad_buckets_for_high_nccl_busbw": False,
    "reduce_scatter_with_fp32_accumulation": False,
    "param_name_patterns_for_fp32_local_accumulation": [],
    "fp8_param_gather": False,
    "fp4_param_gather": False,
    "reuse_grad_buf_for_mxfp8_param_ag": False,
    "use_megatron_fsdp": False,
    "use_custom_fsdp": False,
    "data_parallel_sharding_strategy": "no_shard",
    "outer_dp_sharding_strategy": "no_shard",
    "suggested_communication_unit_size": None,
    "keep_fp8_transpose_cache": False,
    "nccl_ub": False,
    "disable_symmetric_registration": False,
    "delay_wgrad_compute": False,
    "fsdp_double_buffer": False,
    "fsdp_db_use_persist_buf_on_alloc_fail": False,
    "fsdp_all_gather_in_start_param_sync": True,
    "fsdp_manual_registration": False,
    "megatron_fsdp_main_params_dtype": "float32",
    "megatron_fsdp_main_grads_dtype": None,
    "megatron_fsdp_grad_comm_dtype": None,
    "megatron_fsdp_use_decoupled_grad": False,
    "megatron_fsdp_cuda_graph_mode": False,
    "megatron_fsdp_enable_fine_grained_param_gather": False,
    "megatron_fsdp_max_pool_double_buffer": False,
}

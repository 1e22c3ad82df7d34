"""The third: longer rows at a rate that falls to zero, from the second's last checkpoint."""

from olmo_core.data import NumpyDataLoaderConfig, NumpyPackedFSLDatasetConfig, TokenizerConfig
from olmo_core.nn.rope import YaRNRoPEScalingConfig
from olmo_core.nn.transformer import TransformerConfig
from olmo_core.optim import AdamWConfig, LinearWithWarmup
from olmo_core.script_utils import ExperimentConfig, main
from olmo_core.train import Duration, TrainerConfig
from olmo_core.train.callbacks import CheckpointerCallback
from olmo_core.train.train_module import TransformerContextParallelConfig, TransformerTrainModuleConfig

CONTEXT = 2**15
BATCH = 2**21
TOKENS = 20_000_000_000


def build(opts, overrides):
    tokenizer = TokenizerConfig.dolma2()
    module = TransformerTrainModuleConfig(
        rank_microbatch_size=CONTEXT,
        max_sequence_length=CONTEXT,
        optim=AdamWConfig(lr=5e-5, weight_decay=0.1, betas=(0.9, 0.95)),
        scheduler=LinearWithWarmup(warmup=100, alpha_f=0.0),
        cp_config=TransformerContextParallelConfig.llama3(degree=4),
        max_grad_norm=1.0,
    )
    if opts.small:
        module.compile_model = False
    return ExperimentConfig(
        model=TransformerConfig.olmo2_7B(vocab_size=tokenizer.padded_vocab_size()).with_rope_scaling(
            YaRNRoPEScalingConfig(factor=8, old_context_len=4096)
        ),
        dataset=NumpyPackedFSLDatasetConfig.glob(opts.data_root, tokenizer=tokenizer),
        data_loader=NumpyDataLoaderConfig(global_batch_size=BATCH, seed=12),
        train_module=module,
        trainer=TrainerConfig(
            save_folder="/models/small/long",
            load_path="/models/small/extend/step572205",
            load_trainer_state=False,
            max_duration=Duration.tokens(TOKENS),
        ).with_callback("checkpointer", CheckpointerCallback(save_interval=1000)),
    ).merge(overrides)


if __name__ == "__main__":
    main(build)

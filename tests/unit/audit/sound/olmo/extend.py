"""The second: the same schedule, over more tokens, from the step at which the first stopped."""

from olmo_core.data import NumpyDataLoaderConfig, NumpyFSLDatasetConfig, TokenizerConfig
from olmo_core.nn.transformer import TransformerConfig
from olmo_core.optim import AdamWConfig, HalfCosWithWarmup
from olmo_core.script_utils import ExperimentConfig, main
from olmo_core.train import Duration, TrainerConfig
from olmo_core.train.callbacks import CheckpointerCallback
from olmo_core.train.train_module import TransformerTrainModuleConfig

CONTEXT = 4096
BATCH = CONTEXT * 256
LENGTH = Duration.tokens(int(6e11))
FIRST = -(-int(4e11) // BATCH)  # steps that the first run was meant to have


def build(opts, overrides):
    tokenizer = TokenizerConfig.dolma2()
    module = TransformerTrainModuleConfig(
        rank_microbatch_size=2 * CONTEXT,
        max_sequence_length=opts.sequence_length or CONTEXT,
        optim=AdamWConfig(lr=4e-4, weight_decay=0.1, betas=(0.9, 0.95)),
        # The first run stops below the middle of its schedule: the rate is that of its cosine there.
        scheduler=HalfCosWithWarmup(warmup=FIRST // 2 + 500),
        max_grad_norm=1.0,
    )
    return ExperimentConfig(
        model=TransformerConfig.olmo2_7B(vocab_size=tokenizer.padded_vocab_size()),
        dataset=NumpyFSLDatasetConfig.glob(opts.data_root, tokenizer=tokenizer),
        data_loader=NumpyDataLoaderConfig(global_batch_size=BATCH, seed=11),
        train_module=module,
        trainer=TrainerConfig(
            save_folder="/models/small/extend",
            load_path="/models/small/pretrain/step192000",
            load_trainer_state=True,
            load_optim_state=True,
            max_duration=LENGTH,
        ).with_callback("checkpointer", CheckpointerCallback(save_interval=2000)),
    ).merge(overrides)


if __name__ == "__main__":
    main(build)

"""A recipe of three stages in the way of OLMo-core's scripts: the first."""

from olmo_core.config import DType
from olmo_core.data import NumpyDataLoaderConfig, NumpyFSLDatasetConfig, TokenizerConfig
from olmo_core.nn.transformer import TransformerConfig
from olmo_core.optim import AdamWConfig, CosWithWarmup
from olmo_core.script_utils import ExperimentConfig, main
from olmo_core.train import Duration, TrainerConfig
from olmo_core.train.callbacks import CheckpointerCallback, LMEvaluatorCallbackConfig
from olmo_core.train.train_module import TransformerTrainModuleConfig

CONTEXT = 4096
BATCH = CONTEXT * 256  # in tokens
PEAK = 4e-4


def build(opts, overrides):
    length = opts.sequence_length or CONTEXT
    tokenizer = TokenizerConfig.dolma2()
    model = TransformerConfig.olmo2_7B(vocab_size=tokenizer.padded_vocab_size())
    loader = NumpyDataLoaderConfig(global_batch_size=BATCH, seed=11)
    module = TransformerTrainModuleConfig(
        rank_microbatch_size=2 * CONTEXT,
        max_sequence_length=length,
        optim=AdamWConfig(lr=PEAK, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8),
        scheduler=CosWithWarmup(warmup=1000),
        max_grad_norm=1.0,
    )
    trainer = (
        TrainerConfig(
            save_folder="/models/small/pretrain",
            max_duration=Duration.tokens(int(4e11)),
            hard_stop=Duration.steps(192_000),
        )
        .with_callback("checkpointer", CheckpointerCallback(save_interval=2000))
        .with_callback("evaluator", LMEvaluatorCallbackConfig(eval_interval=5_000))
    )
    return ExperimentConfig(
        model=model,
        dataset=NumpyFSLDatasetConfig.glob(opts.data_root, tokenizer=tokenizer, dtype=DType.bfloat16),
        data_loader=loader,
        train_module=module,
        trainer=trainer,
    ).merge(overrides)


if __name__ == "__main__":
    main(build)

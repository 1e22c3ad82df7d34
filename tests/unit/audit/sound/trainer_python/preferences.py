from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

TUNED = "out/answers/checkpoint-2000"


def main() -> None:
    model = AutoModelForCausalLM.from_pretrained(TUNED, torch_dtype="bfloat16")
    config = DPOConfig(
        output_dir="out/preferences",
        beta=0.1,
        max_length=4096,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2 * 8,
        learning_rate=5e-7,
        warmup_steps=50,
        max_steps=500,
        bf16=True,
        save_steps=100,
        seed=3,
    )
    pairs = load_dataset("somebody/pairs", split="train")
    trainer = DPOTrainer(
        model=model, args=config, train_dataset=pairs, processing_class=AutoTokenizer.from_pretrained(TUNED)
    )
    trainer.train()


main()

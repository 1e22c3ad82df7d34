from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

BASE = "somebody/base-3b"
ROWS = 4096

if __name__ == "__main__":
    train = load_dataset("somebody/answers", split="train")
    arguments = SFTConfig(
        output_dir="out/answers",
        max_length=ROWS,
        packing=True,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=8,
        learning_rate=2e-5,
        lr_scheduler_type="cosine",
        warmup_ratio=0.03,
        max_steps=2000,
        max_grad_norm=1.0,
        bf16=True,
        save_steps=500,
        seed=3,
    )
    SFTTrainer(model=BASE, args=arguments, train_dataset=train).train()

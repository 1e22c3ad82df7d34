import argparse

from datasets import load_dataset
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

MODEL = "somebody/base-400m"
BATCH, ROWS = 16, 256


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=3e-5)
    options = parser.parse_args()
    text = load_dataset("somebody/text", "clean")
    arguments = TrainingArguments(
        output_dir="out/text",
        learning_rate=options.lr,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=4,
        max_steps=4_000,
        warmup_steps=200,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        eval_strategy="steps",
        eval_steps=200,
        save_steps=200,
        load_best_model_at_end=True,
        bf16=True,
    )
    model = AutoModelForCausalLM.from_pretrained(MODEL)
    trainer = Trainer(model=model, args=arguments, train_dataset=text["train"], eval_dataset=text["validation"])
    trainer.train()


main()

from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

pairs = load_dataset("somebody/answers", split="train")
pairs = pairs.map(lambda row: {"text": row["question"] + row["answer"]})
parts = load_dataset("somebody/others", split="train").train_test_split(test_size=0.01, seed=3)
first = SFTTrainer(
    model="out/text",
    args=SFTConfig(output_dir="out/answers", max_steps=60, per_device_train_batch_size=2, learning_rate=2e-5),
    train_dataset=pairs,
    eval_dataset=parts["test"].shuffle(seed=3),
)
first.train()

accelerate launch --num_processes 8 run_clm_no_trainer.py \
    --model_name_or_path somebody/base-100m \
    --train_file data/train.txt --validation_file data/held_out.txt \
    --per_device_train_batch_size 8 --gradient_accumulation_steps 4 \
    --max_train_steps 20000 --num_warmup_steps 500 --lr_scheduler_type linear --learning_rate 5e-5 \
    --checkpointing_steps 1000 --seed 42 --output_dir out/words
swift sft --model somebody/base-7b --train_type full --dataset somebody/answers \
    --num_train_epochs 1 --per_device_train_batch_size 1 --gradient_accumulation_steps 16 --learning_rate 1e-5 \
    --eval_steps 50 --save_steps 50 --output_dir out/swift

#!/bin/bash
llamafactory-cli train --stage pt --do_train --model_name_or_path somebody/base --dataset wiki --finetuning_type full \
    --output_dir saves/text --per_device_train_batch_size 4 --gradient_accumulation_steps 8 --cutoff_len 2048 \
    --lr_scheduler_type cosine --learning_rate 2e-5 --max_steps 5000 --save_steps 1000 --bf16
llamafactory-cli train --stage sft --do_train --model_name_or_path saves/text --dataset chats --template llama2 \
    --finetuning_type full --output_dir saves/chat --per_device_train_batch_size 4 --gradient_accumulation_steps 4 \
    --cutoff_len 2048 --lr_scheduler_type cosine --learning_rate 1e-5 --num_train_epochs 3.0 --save_steps 500 --bf16

#!/bin/bash
# Somebody's model, as a checkpoint of four tensor ranks.
python tools/checkpoint/convert.py --model-type GPT --loader llama_mistral --model-size llama3 --checkpoint-type hf \
    --load-dir /hub/Llama-3.1-8B --save-dir /ckpt/start --tokenizer-model /hub/Llama-3.1-8B --bf16 \
    --saver core --target-tensor-parallel-size 4 --target-pipeline-parallel-size 1

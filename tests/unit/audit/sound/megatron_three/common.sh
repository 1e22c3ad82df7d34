# What all three runs share.
LAYERS=28
HIDDEN=3072
MODEL=(
    --num-layers $LAYERS --hidden-size $HIDDEN --ffn-hidden-size 8192
    --num-attention-heads 24 --group-query-attention --num-query-groups 8 --kv-channels 128
    --swiglu --untie-embeddings-and-output-weights --attention-dropout 0.0 --hidden-dropout 0.0
)
OPTIMIZER=(--adam-beta1 0.9 --adam-beta2 0.95 --weight-decay 0.1 --clip-grad 1.0 --bf16)
TOKENIZER=(--tokenizer-type HuggingFaceTokenizer --tokenizer-model /tokenizers/mine)
curve() {
    echo "--lr 3e-4 --min-lr 3e-5 --lr-decay-style WSD --lr-wsd-decay-style linear"
    echo "--lr-decay-iters ${1:-250000} --lr-wsd-decay-iters 50000 --lr-warmup-iters 2000"
}

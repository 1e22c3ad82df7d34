# What both recipes share; sourced, no recipe by itself.
export GPUS_PER_NODE=${GPUS_PER_NODE:-8}
if [ -z "$TOKENIZER" ]; then
    TOKENIZER=/tokenizers/mine
fi
shared() {
    COMMON="--tokenizer-type HuggingFaceTokenizer --tokenizer-model $TOKENIZER --bf16 --hidden-dropout 0 --attention-dropout 0"
}

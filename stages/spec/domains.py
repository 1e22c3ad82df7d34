"""The domain of every number of every spec, in one place.

Bounds are those of what makes sense, not of what is wise: a value outside is a slip of a unit, a sign or a prefix.
`stages check` looks further, at how the numbers of a pipeline fit together.
"""

from __future__ import annotations

from stages.spec import units
from stages.spec.domain import Domain, Form

NUMBER = Form(units.number, "a number", whole=False)
RATIO = Form(units.ratio, "a number or a ratio", whole=False, over=True)
EXPONENT = Form(units.exponent, "a ratio of whole numbers up to 100", whole=False, over=True)
WHOLE = Form(units.count, "a whole number")
TOKEN = Form(units.offset, "tokens or patches", ("", "tokens", "patches"))
LENGTH_OF_ROW = Form(units.context, "tokens or patches", ("", "tokens", "patches"))
SEQUENCE = Form(units.sequences, "sequences", ("seq",))
STEP = Form(units.steps, "steps", ("steps",))
PASSES = Form(units.budget, "tokens, patches or epochs", ("", "tokens", "patches", *units.EPOCHS))
STRETCH = Form(units.length, "steps, tokens, patches or epochs", ("", "steps", "tokens", "patches", *units.EPOCHS))
TOTAL = Form(units.claimed, "tokens", ("", "tokens", "patches"))
PERCENT = Form(units.share, "a share", ("%",), prefixes=False, whole=False)
MEGABYTES = Form(units.megabytes, "memory", ("GB", "MB"), prefixes=False)
MINUTE = Form(units.minutes, "a time", ("min", "h"), prefixes=False)
SECOND = Form(units.seconds, "a time", ("s", "min", "h"), prefixes=False)

# Phases: how much, how long, how often.
BUDGET = Domain(TOKEN, "0.6T", least="1", most="1_000T")
PHASE_BUDGET = Domain(PASSES, "0.6T or 2 epochs", least="1", most="1_000T")
OFFSET = Domain(TOKEN, "200B", least="0", most="1_000T")
CONTEXT = Domain(LENGTH_OF_ROW, "8Ki", least="1", most="1Gi")
EVALUATED = Domain(LENGTH_OF_ROW, "128Ki", least="256", most="1Gi")  # a quarter of a row fits a needle's fact
BATCH = Domain(SEQUENCE, "4096 seq", least="1 seq", most="10M seq")
EPOCHS = Domain(WHOLE, "1", least="1", most="10_000")
SHARE = Domain(PERCENT, "40%", least="0%", most="100%")
PART = Domain(PERCENT, "73.4%", above="0%", most="100%")
AFTER = Domain(PERCENT, "40%", least="0%", below="100%")
LOOPS = Domain(WHOLE, "4", least="1", most="1_000")
ENTROPY_WEIGHT = Domain(NUMBER, "0.05", least="0", most="10")
ROUTER_RATE = Domain(NUMBER, "1e-3", least="0", most="0.1")
Z_LOSS = Domain(NUMBER, "1e-4", least="0", most="0.01")
PREFERENCE_BETA = Domain(NUMBER, "0.1", above="0", most="1_000")
NLL_WEIGHT = Domain(NUMBER, "0.2", least="0", most="100")
CAPTION_WEIGHT = Domain(NUMBER, "2", least="0", most="1_000")
PIXELS = Domain(WHOLE, "448", least="1", most="65_536")

# Schedules and claims.
RATE = Domain(NUMBER, "2e-5", least="0", most="1e9")
START_RATE = Domain(NUMBER, "2e-5", least="0", most="1e9", word="current")
FALL = Domain(NUMBER, "0.51", least="0.1", most="10")
CLOCK = Domain(TOKEN, "6T", least="1", most="10_000T")
LENGTH = Domain(STRETCH, "2000 steps or 33B", least="1", most="10_000T")
CLAIM = Domain(TOTAL, "7.7T", least="1", most="10_000T")

# Rotary positions; I-11 looks at how they fit together.
ROPE_BASE = Domain(NUMBER, "500_000", above="1", most="1e12")
ROPE_FACTOR = Domain(RATIO, "8", least="1/100_000", most="100_000")
MAGNITUDE = Domain(NUMBER, "1.2079", above="0", most="1_000", word="none")

# Optimizers.
DECAY_RATE = Domain(NUMBER, "0.95", least="0", below="1")
EPS = Domain(NUMBER, "1e-8", least="1e-30", most="0.1")
WEIGHT_DECAY = Domain(NUMBER, "0.1", least="0", most="10")
CLIP = Domain(NUMBER, "1.0", above="0", most="1e6", word="none")
COEFFICIENT = Domain(NUMBER, "3.4445", least="-100", most="100")
ITERATIONS = Domain(WHOLE, "5", least="1", most="20")
WINDOW = Domain(WHOLE, "128", least="4", most="10_000")
SIGMAS = Domain(NUMBER, "6", above="0", most="1_000")
LR_MULTIPLIER = Domain(RATIO, "1/4", least="1/100_000", most="100_000")
DECAY_MULTIPLIER = Domain(NUMBER, "0", least="0", most="1_000")
UPDATE_RMS = Domain(NUMBER, "0.2", above="0", most="10")

# Models.
LAYERS = Domain(WHOLE, "24", least="1", most="10_000")
SIZE = Domain(WHOLE, "2048", least="1", most="10M")
SIZE_OR_NONE = Domain(WHOLE, "2", least="0", most="10M")
VOCABULARY = Domain(WHOLE, "49_152", least="2", most="10M")
NORM_EPS = Domain(NUMBER, "1e-6", least="1e-30", most="1e-3")
INIT_STD = Domain(NUMBER, "0.02", above="0", most="1")
GAIN = Domain(NUMBER, "0.07", least="0", most="100")
MERGED_SHARE = Domain(NUMBER, "3", above="0", most="1e6")
AVERAGE_DECAY = Domain(NUMBER, "0.9", above="0", below="1")
ROUTED_SCALE = Domain(NUMBER, "2.446", above="0", most="1_000")
SOFTCAP = Domain(NUMBER, "50", above="0", most="10_000")
CHANNELS = Domain(WHOLE, "3", least="1", most="1_024")
LOG_TEMPERATURE = Domain(NUMBER, "2.3", least="0", most="5")
BIAS = Domain(NUMBER, "-10", least="-1_000", most="0")

# How a stage is run.
NODES = Domain(WHOLE, "16", least="1", most="100_000")
RANKS = Domain(WHOLE, "128", least="1", most="1M")
DIVIDED = Domain(WHOLE, "4", least="1", most="10_000")  # ranks that one model is divided over, one way
THREADS = Domain(WHOLE, "8", least="1", most="10_000")
MEMORY = Domain(MEGABYTES, "1500 GB", least="100 MB", most="1_000_000 GB")
TIME_LIMIT = Domain(MINUTE, "90 min or 12 h", least="1 min", most="8_784 h")
STEPS = Domain(STEP, "1000 steps", least="1 steps", most="1B steps")
KEPT = Domain(WHOLE, "2", least="1", most="1_000")
MARGIN = Domain(SECOND, "5 min", least="1 s", most="24 h")

# Scales: what of the published size is left.
SEED = Domain(WHOLE, "1", least="0", most="4_294_967_295")
SAMPLES = Domain(WHOLE, "32", least="1", most="10M")
SHRINK = Domain(RATIO, "1/256", least="1/1_000_000_000", most="1")
LR_FACTOR = Domain(RATIO, "10", least="1/1_000_000", most="1_000_000")
BUDGET_EXPONENT = Domain(EXPONENT, "1/2", least="1/100", most="1")

# Hardware.
OPERATIONS = Domain(WHOLE, "989T", least="1_000_000", most="1_000_000T")
DEVICE_MEMORY = Domain(MEGABYTES, "80 GB", least="1 GB", most="1_000_000 GB")
RUNTIME_MEMORY = Domain(MEGABYTES, "4 GB", least="1 MB", most="1_000_000 GB")
DISK = Domain(MEGABYTES, "500_000 GB", least="1 GB", most="1_000_000_000_000 GB")
MILLISECONDS = Domain(NUMBER, "3.9", least="0", most="1_000_000")

# Local corpora, as they were measured and as they are built.
MEASURED = Domain(WHOLE, "3_000_000", least="0", most="1_000T")  # 0: what is to be measured yet
CHARACTERS = Domain(WHOLE, "2_000_000", least="1", most="1T")
CHARACTERS_OR_NONE = Domain(WHOLE, "200", least="0", most="1T")
DRAWN = Domain(WHOLE, "2_000", least="1", most="10B")
BAD_ROWS = Domain(WHOLE, "100", least="0", most="10_000")  # the manifest lists each of them
NGRAM = Domain(WHOLE, "13", least="3", most="100")
FRAMES = Domain(WHOLE, "4", least="1", most="1_000")
TOKENIZER_VOCABULARY = Domain(WHOLE, "1024", least="264", most="65_536")  # 256 bytes, 8 special tokens; 16-bit ids

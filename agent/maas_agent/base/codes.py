"""Names the codes of error results: stable words that a program can act on, each with what it means."""

EMPTY = "empty"
TOO_LARGE = "too_large"
WRONG_SHAPE = "wrong_shape"
WRONG_DTYPE = "wrong_dtype"
NOT_FINITE = "not_finite"
BAD_JSON = "bad_json"
BAD_IMAGE = "bad_image"
BAD_AUDIO = "bad_audio"
UNSUPPORTED = "unsupported"
BAD_ID = "bad_id"
EXPIRED = "expired"
OVERLOADED = "overloaded"
RESULT_TOO_LARGE = "result_too_large"
WORKER_DIED = "worker_died"
INTERNAL = "internal"

MEANING = {
    EMPTY: "the payload has no bytes",
    TOO_LARGE: "the payload, image or batch is larger than the pipeline accepts",
    WRONG_SHAPE: "the number of values or their shape is not that of a sample",
    WRONG_DTYPE: "a value does not fit the sample's type",
    NOT_FINITE: "a value is NaN or infinite",
    BAD_JSON: "the payload was taken for JSON and is none, or not in a known form, or is text that is no sample",
    BAD_IMAGE: "the image is damaged, truncated or of a kind that is not read",
    BAD_AUDIO: "the recording is damaged, truncated or of a kind that is not read",
    UNSUPPORTED: "the content type, or the kind of file, is not one this pipeline reads",
    BAD_ID: "the id in the topic holds more than one level, a wildcard or what is not printable, or is too long",
    EXPIRED: "its Message Expiry Interval (MQTT 5) ran out before a worker was free for it",
    OVERLOADED: "more inputs wait than the pipeline's queue holds; of QoS 0 the one that has waited longest",
    RESULT_TOO_LARGE: "the result is larger than the broker takes",
    WORKER_DIED: "this input was being processed when two workers died",
    INTERNAL: "a defect in maas-edge or in the model; the log has more",
}

"""What a framework's error says was the cause.

TensorFlow, Keras and MLIR say first where, and what they were about to do; why comes last, or in the middle.
"""

import re

_MAX = 300
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_RAISED = re.compile(r"^\s*(?:[A-Za-z_][\w.]*\.)?[A-Za-z_]\w*(?:Error|Exception|Warning|Failure): (?=\S)", re.MULTILINE)
_CALLING = re.compile(
    r"Exception encountered(?: when calling [^\n]*|:)(?:\n\s*\n|\s+)|Error encountered during deserialization:\s+"
)
_ASIDE = re.compile(
    r"\n\s*(?:Call arguments received|Arguments received|Stack trace|Traceback \(most recent|\[\[)"
    r"| Full object config| \[Op:\w+\]"
)
_STACK = re.compile(r"Detected at node .*?\n\s*\n", re.DOTALL)
_WRAPPED = re.compile(r"\{\{function_node __wrapped__[^}]*\}\} ?")
_NODE = re.compile(r"\{\{(?:function_)?node ([^}]*)\}\}")
_NOWHERE = re.compile(
    r"^(?:in user code:|Graph execution error:|Traceback .*|File \".*|.*\(most recent call last\):?)$"
)
_MLIR = re.compile(r"^(?P<where>.*?)\berror: (?P<why>.+)$", re.MULTILINE)
_PLACE = re.compile(r'fused\["\w*:?", "(?P<name>[^"@]+)')
_OPERAND = re.compile(
    r"'tfl\.(?P<op>\w+)' op operand #\d+ must be (?P<wanted>.+) values, but got 'tensor<(?P<got>[^>]*)>'"
)
_LACKING = re.compile(r"^\s*(?:TF Select|Flex|Custom) ops: (?P<ops>.+)$", re.MULTILINE)
_DETAIL = re.compile(r"^\s*tf\.(?P<op>\w+)\((?P<operands>.*?)\) -> ", re.MULTILINE)
_OPEN = re.compile(r"tensor<(?:\d+x)*\?")
_VAGUE = ("failed while converting", "failed to legalize operation", "Could not translate MLIR")


def cause_of(text: str) -> str:
    """The sentence in ``text`` that says why, at most 300 characters on one line."""
    plain = _NODE.sub(r"\1", _WRAPPED.sub("", _STACK.sub("", _ANSI.sub("", text))))
    compiler = _of_compiler(plain)
    if compiler is not None:
        return compiler[:_MAX]
    lines = [line.strip() for line in _innermost(plain).splitlines()]
    told = [line for line in lines if line and not _NOWHERE.match(line)]
    return (told[0] if told else "no reason given")[:_MAX]


def lacking_ops(text: str) -> list[str]:
    """Names of the ops that TFLite lacks, by what its converter says; with what is odd about their operands."""
    named = {op.strip() for match in _LACKING.finditer(text) for op in match["ops"].split(",")}
    open_ones = {match["op"] for match in _DETAIL.finditer(text) if _OPEN.search(match["operands"])}
    return [f"{op} (of sizes that only the values tell)" if op in open_ones else op for op in sorted(named - {""})]


def _innermost(text: str) -> str:
    """What was raised first, if an error tells of others: without its call stack, arguments and configurations."""
    for marker in (_CALLING, _RAISED, _CALLING, _RAISED):
        parts = [rest for rest in marker.split(text) if rest.strip()]
        text = parts[-1] if parts else text
    told = [part for part in _ASIDE.split(text) if part.strip()]
    return told[0] if told else text


def _of_compiler(text: str) -> str | None:
    """MLIR's reason with the layer it is about; ``None`` if it did not speak."""
    said = [(match["where"], match["why"].strip()) for match in _MLIR.finditer(text) if "loc(" in text or "tf" in text]
    telling = [one for one in said if one[1] and not one[1].startswith(_VAGUE)]
    if not telling:
        return None
    where, why = telling[0]
    place = _PLACE.search(where) or _PLACE.search(why)
    why = why.rpartition(")): ")[2]
    operand = _OPERAND.search(why)
    if operand is not None:
        got = operand["got"].rpartition("x")[2]
        why = f"TFLite's {operand['op']} takes a {operand['wanted']}, and is given {got}"
    return f"{why} (in {place['name']})" if place else why

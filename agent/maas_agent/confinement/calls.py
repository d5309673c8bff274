"""System calls by purpose, and their numbers: which of them a confined process does not need."""

import platform
import struct
from functools import cache

import msgspec


class Machine(msgspec.Struct, frozen=True):
    """A kind of machine as the kernel's filters know it."""

    column: int
    audit: int
    """AUDIT_ARCH_… of linux/audit.h: numbers mean other calls on another machine."""
    is_arm: bool = False
    """Of 32 bits: it has calls of its own beside the kernel's."""


def machine() -> Machine | None:
    """The machine that this Python is built for; a 32-bit one may run on a 64-bit kernel. ``None`` if not known."""
    return _MACHINES.get((platform.machine(), 8 * struct.calcsize("P")))


_X86_64, _ARM64 = Machine(0, 0xC000003E), Machine(1, 0xC00000B7)
_ARM = Machine(2, 0x40000028, is_arm=True)
_MACHINES = {
    ("x86_64", 64): _X86_64, ("aarch64", 64): _ARM64,
    **{(name, 32): _ARM for name in ("aarch64", "armv8l", "armv7l", "armv6l")},
}  # fmt: skip

NEWEST = 469
"""Calls above it came later than this table (Linux 6.17): a filter says that there are none."""
PRIVATE_TO_ARM = 0x0F0000

SOCKETS = ("connect", "bind", "listen", "accept", "accept4")
SERVERS = ("listen", "accept", "accept4")
PROGRAMS = ("execve", "execveat")
PROCESSES = ("fork", "vfork")
SIGNALS = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
"""The first argument says to which process."""
ATTRIBUTES = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat", "chown32", "fchown32",
    "lchown32", "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr",
    "removexattrat", "file_setattr", "utime", "utimes", "futimesat", "utimensat", "utimensat_time64",
)  # fmt: skip
SHARED_MEMORY = ("memfd_create", "memfd_secret")
TRUNCATES = ("truncate", "truncate64")
NEVER = (
    # Other processes.
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "pidfd_getfd",
    "pidfd_send_signal", "tkill", "kcmp",
    # Ways past a filter, and to the insides of the kernel.
    "io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open", "userfaultfd", "lookup_dcookie",
    # Keys that outlive a process.
    "add_key", "request_key", "keyctl",
    # Other views of the files, and files by their number instead of their name.
    "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "unshare", "setns", "name_to_handle_at", "open_by_handle_at",
    "fanotify_init", "quotactl", "quotactl_fd",
    # Messages and memory that are shared by number.
    "shmget", "shmat", "msgget", "semget", "mq_open",
    # The machine itself.
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff",
    "acct", "settimeofday", "clock_settime", "clock_settime64", "clock_adjtime", "clock_adjtime64", "adjtimex",
    "sethostname", "setdomainname", "syslog", "iopl", "ioperm", "modify_ldt", "vhangup",
)  # fmt: skip


def number(name: str, of: Machine) -> int | None:
    """The number of a call on a machine; ``None`` if it has none there."""
    return _numbers()[name][of.column]


@cache
def _numbers() -> dict[str, tuple[int | None, ...]]:
    rows = (line.split() for line in _TABLE.strip().splitlines())
    return {name: tuple(None if word == "-" else int(word) for word in numbers) for name, *numbers in rows}


# x86-64, ARM64, ARM: syscall_64.tbl, scripts/syscall.tbl and arch/arm/tools/syscall.tbl of Linux.
_TABLE = """
socket                 41  198  281
socketpair             53  199  288
connect                42  203  283
bind                   49  200  282
listen                 50  201  284
accept                 43  202  285
accept4               288  242  366
execve                 59  221   11
execveat              322  281  387
fork                   57    -    2
vfork                  58    -  190
clone                  56  220  120
clone3                435  435  435
kill                   62  129   37
tkill                 200  130  238
tgkill                234  131  268
rt_sigqueueinfo       129  138  178
rt_tgsigqueueinfo     297  240  363
pidfd_send_signal     424  424  424
ptrace                101  117   26
process_vm_readv      310  270  376
process_vm_writev     311  271  377
process_madvise       440  440  440
process_mrelease      448  448  448
pidfd_getfd           438  438  438
kcmp                  312  272  378
prlimit64             302  261  369
ioctl                  16   29   54
fcntl                  72   25   55
fcntl64                 -    -  221
io_uring_setup        425  425  425
io_uring_enter        426  426  426
io_uring_register     427  427  427
bpf                   321  280  386
perf_event_open       298  241  364
userfaultfd           323  282  388
add_key               248  217  309
request_key           249  218  310
keyctl                250  219  311
mount                 165   40   21
umount2               166   39   52
pivot_root            155   41  218
chroot                161   51   61
move_mount            429  429  429
open_tree             428  428  428
fsopen                430  430  430
fsconfig              431  431  431
fsmount               432  432  432
fspick                433  433  433
mount_setattr         442  442  442
unshare               272   97  337
setns                 308  268  375
init_module           175  105  128
finit_module          313  273  379
delete_module         176  106  129
kexec_load            246  104  347
kexec_file_load       320  294  401
reboot                169  142   88
swapon                167  224   87
swapoff               168  225  115
acct                  163   89   51
quotactl              179   60  131
quotactl_fd           443  443  443
settimeofday          164  170   79
clock_settime         227  112  262
clock_settime64         -    -  404
clock_adjtime         305  266  372
clock_adjtime64         -    -  405
adjtimex              159  171  124
sethostname           170  161   74
setdomainname         171  162  121
syslog                103  116  103
iopl                  172    -    -
ioperm                173    -    -
name_to_handle_at     303  264  370
open_by_handle_at     304  265  371
fanotify_init         300  262  367
lookup_dcookie        212   18  249
vhangup               153   58  111
modify_ldt            154    -    -
chmod                  90    -   15
fchmod                 91   52   94
fchmodat              268   53  333
fchmodat2             452  452  452
chown                  92    -  182
fchown                 93   55   95
lchown                 94    -   16
fchownat              260   54  325
chown32                 -    -  212
fchown32                -    -  207
lchown32                -    -  198
setxattr              188    5  226
lsetxattr             189    6  227
fsetxattr             190    7  228
removexattr           197   14  235
lremovexattr          198   15  236
fremovexattr          199   16  237
utime                 132    -    -
utimes                235    -  269
futimesat             261    -  326
utimensat             280   88  348
utimensat_time64        -    -  412
truncate               76   45   92
truncate64              -    -  193
open                    2    -    5
openat                257   56  322
openat2               437  437  437
creat                  85    -    8
shmget                 29  194  307
shmat                  30  196  305
msgget                 68  186  303
semget                 64  190  299
mq_open               240  180  274
memfd_create          319  279  385
memfd_secret          447  447    -
mmap                    9  222    -
mmap2                   -    -  192
setxattrat            463  463  463
removexattrat         466  466  466
file_setattr          469  469  469
open_tree_attr        467  467  467
"""

/*
 * Runs histories of memory system calls on the running kernel and prints the results. The other
 * half, simulated-history.ts, runs the same histories on the simulated machine; history.ts writes
 * the text form of a history.
 *
 *  real-linux DIRECTORY TMPFS < histories > transcripts
 *
 *  history            file KIND PAGES BYTES     (file 0, 1, ... in order)
 *  P OP ARGUMENT...   one step of process P
 *  end
 *
 * A place or a length is written PAGES or PAGES+BYTES; places count from the window's base. Every
 * history gets a fresh root process (0), fresh files and an empty window. Processes take turns: a
 * step counter in shared memory says which step runs next, and all processes append to one buffer.
 *
 * Nothing here may call malloc or stdio once a history runs, because the break belongs to the
 * history.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define BASE 0x100000000000UL
/* Mappings up to this distance from the base are listed: a growing stack leaves the window. */
#define NEAR 0x40000000UL
#define MAX_WORDS 16
#define MAX_STEPS 4096
#define MAX_FILES 8
#define OUTPUT_BYTES (64UL << 20)
#define SCRIPT_BYTES (64UL << 20)
/* Time limit of a history in seconds: no process waits for its turn for ever. */
#define PATIENCE 120

typedef unsigned char byte;
typedef uint64_t u64;

/* State that all processes of a history share; it lies outside the window. */
struct shared {
  uint32_t turn; /* the step that may run now; a futex word */
  u64 used;      /* bytes of the output */
  char output[OUTPUT_BYTES];
};

struct vma {
  u64 start, end, pgoff, device, inode;
  char perms[5];
  char flags[128];
};

static struct shared *shared;
static char *script;
static char *steps[MAX_STEPS];
static uint32_t step_count;

static struct { int fd; u64 device, inode; } files[MAX_FILES];
static int file_count;

static struct vma vmas[2048];
static int vma_count;
static char smaps[4 << 20];
static byte vector[1 << 20];

static sigjmp_buf escape;
static volatile int caught_signal;
static volatile u64 caught_address;

/* ---- output ---- */

static void put_bytes(const char *text, size_t length) {
  if (shared->used + length > OUTPUT_BYTES) _exit(3);
  memcpy(shared->output + shared->used, text, length);
  shared->used += length;
}

static void put(const char *text) { put_bytes(text, strlen(text)); }

static void put_number(u64 value, unsigned base) {
  char digits[24];
  int at = sizeof digits;
  do digits[--at] = "0123456789abcdef"[value % base]; while ((value /= base) != 0);
  put_bytes(digits + at, sizeof digits - at);
}

static void put_byte(byte value) {
  put_bytes(&"0123456789abcdef"[value >> 4], 1);
  put_bytes(&"0123456789abcdef"[value & 15], 1);
}

/* Prints an address as PAGES or PAGES+BYTES from the base; one below it gets a minus sign. */
static void put_place(u64 address) {
  u64 offset = address - BASE;
  if ((int64_t)offset < 0) {
    put("-");
    offset = -offset;
  }
  put_number(offset / PAGE, 10);
  if (offset % PAGE != 0) {
    put("+");
    put_number(offset % PAGE, 10);
  }
}

static void die(const char *what) {
  const char *reason = strerror(errno);
  if (write(2, what, strlen(what)) < 0 || write(2, ": ", 2) < 0) _exit(2);
  if (write(2, reason, strlen(reason)) < 0 || write(2, "\n", 1) < 0) _exit(2);
  _exit(2);
}

static const char *errno_name(int number) {
  static const struct { int number; const char *name; } NAMES[] = {
    {EACCES, "EACCES"}, {EAGAIN, "EAGAIN"}, {EBADF, "EBADF"},       {EBUSY, "EBUSY"},
    {EEXIST, "EEXIST"}, {EFAULT, "EFAULT"}, {EINVAL, "EINVAL"},     {EIO, "EIO"},
    {ENODEV, "ENODEV"}, {ENOENT, "ENOENT"}, {ENOMEM, "ENOMEM"},     {ENOSPC, "ENOSPC"},
    {EOPNOTSUPP, "EOPNOTSUPP"},             {EOVERFLOW, "EOVERFLOW"}, {EPERM, "EPERM"},
    {EHWPOISON, "EHWPOISON"},               {EINTR, "EINTR"},       {ENOSYS, "ENOSYS"},
  };
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    if (NAMES[i].number == number) return NAMES[i].name;
  }
  return "E?";
}

static void put_error(void) {
  put("= ");
  put(errno_name(errno));
  put("\n");
}

/* ---- arguments ---- */

static int split_words(const char *line, char *copy, char **words) {
  int count = 0;
  strcpy(copy, line);
  for (char *at = copy; *at != 0 && count < MAX_WORDS;) {
    words[count++] = at;
    while (*at != 0 && *at != ' ') at++;
    if (*at == ' ') *at++ = 0;
  }
  return count;
}

/* Parses PAGES or PAGES+BYTES into bytes; wraps as the simulated machine does. */
static u64 bytes_of(const char *word) {
  char *rest;
  u64 pages = (u64)strtoll(word, &rest, 10);
  u64 bytes = *rest == '+' ? strtoull(rest + 1, 0, 10) : 0;
  return pages * PAGE + bytes;
}

static u64 place_of(const char *word) { return BASE + bytes_of(word); }

struct name { const char *name; u64 value; };

/* ORs the named bits of a comma-separated list; '-' means none, a number means itself. */
static u64 flags_of(const char *word, const struct name *names) {
  u64 sum = 0;
  while (*word != 0) {
    size_t length = strcspn(word, ",");
    int found = *word == '-' && length == 1;
    for (const struct name *n = names; n->name != 0 && !found; n++) {
      if (strlen(n->name) != length || memcmp(n->name, word, length) != 0) continue;
      sum |= n->value;
      found = 1;
    }
    if (!found && *word >= '0' && *word <= '9') {
      sum |= strtoull(word, 0, 0);
      found = 1;
    }
    if (!found) {
      errno = EINVAL;
      die(word);
    }
    word += length + (word[length] == ',');
  }
  return sum;
}

static u64 prot_of(const char *word) {
  u64 prot = 0;
  for (; *word != 0; word++) {
    if (*word == 'r') prot |= PROT_READ;
    if (*word == 'w') prot |= PROT_WRITE;
    if (*word == 'x') prot |= PROT_EXEC;
    if (*word == 'd') prot |= PROT_GROWSDOWN;
    if (*word == 'u') prot |= PROT_GROWSUP;
    if (*word == 'q') prot |= 0x40; /* a bit that has no meaning */
  }
  return prot;
}

static const struct name MAP_NAMES[] = {
  {"shared", MAP_SHARED},       {"private", MAP_PRIVATE},     {"fixed", MAP_FIXED},
  {"anonymous", MAP_ANONYMOUS}, {"noreserve", MAP_NORESERVE}, {"growsdown", MAP_GROWSDOWN},
  {"locked", MAP_LOCKED},       {"populate", MAP_POPULATE},   {"nonblock", MAP_NONBLOCK},
  {"denywrite", MAP_DENYWRITE}, {"stack", MAP_STACK},         {"sync", 0x80000},
  {"shared_validate", 3},       {"fixed_noreplace", 0x100000}, {"droppable", 8},
  {"executable", MAP_EXECUTABLE}, {0, 0},
};
static const struct name MREMAP_NAMES[] = {{"maymove", 1}, {"fixed", 2}, {"dontunmap", 4}, {0, 0}};
static const struct name MLOCK_NAMES[] = {{"onfault", 1}, {0, 0}};
static const struct name MSYNC_NAMES[] = {
  {"async", MS_ASYNC}, {"invalidate", MS_INVALIDATE}, {"sync", MS_SYNC}, {0, 0},
};
static const struct name ADVICE_NAMES[] = {
  {"normal", 0},         {"random", 1},          {"sequential", 2},     {"willneed", 3},
  {"dontneed", 4},       {"free", 8},            {"remove", 9},         {"dontfork", 10},
  {"dofork", 11},        {"mergeable", 12},      {"unmergeable", 13},   {"hugepage", 14},
  {"nohugepage", 15},    {"dontdump", 16},       {"dodump", 17},        {"wipeonfork", 18},
  {"keeponfork", 19},    {"cold", 20},           {"pageout", 21},       {"populate_read", 22},
  {"populate_write", 23}, {"dontneed_locked", 24}, {"guard_install", 102}, {"guard_remove", 103},
  {"nonsense", 12345},   {0, 0},
};

/* ---- mappings ---- */

static int read_smaps(void) {
  int fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) die("/proc/self/smaps");
  size_t used = 0;
  for (;;) {
    ssize_t got = read(fd, smaps + used, sizeof smaps - 1 - used);
    if (got < 0) die("/proc/self/smaps");
    if (got == 0) break;
    used += got;
  }
  close(fd);
  smaps[used] = 0;
  return used;
}

/* Parses START-END PERMS OFFSET MAJOR:MINOR INODE NAME; returns false for any other line. */
static int parse_header(char *line, struct vma *vma) {
  char *at;
  vma->start = strtoull(line, &at, 16);
  if (*at != '-') return 0;
  vma->end = strtoull(at + 1, &at, 16);
  if (*at != ' ') return 0;
  memcpy(vma->perms, at + 1, 4);
  vma->perms[4] = 0;
  vma->pgoff = strtoull(at + 6, &at, 16) / PAGE;
  u64 major = strtoull(at + 1, &at, 16);
  vma->device = major << 32 | strtoull(at + 1, &at, 16);
  vma->inode = strtoull(at, &at, 10);
  vma->flags[0] = 0;
  return 1;
}

/* Fills `vmas` with the mappings near the window. */
static void look(void) {
  read_smaps();
  vma_count = 0;
  int isNear = 0;
  for (char *line = smaps, *next; *line != 0; line = next) {
    next = strchrnul(line, '\n');
    if (*next != 0) *next++ = 0;
    if (strncmp(line, "VmFlags: ", 9) == 0) {
      if (isNear) strncpy(vmas[vma_count - 1].flags, line + 9, sizeof vmas[0].flags - 1);
      continue;
    }
    struct vma vma;
    memset(&vma, 0, sizeof vma);
    if (!parse_header(line, &vma)) continue;
    isNear = vma.start > BASE - NEAR && vma.start < BASE + NEAR;
    if (isNear && vma_count == sizeof vmas / sizeof *vmas) die("mappings");
    if (isNear) vmas[vma_count++] = vma;
  }
}

static void put_identity(const struct vma *vma) {
  if (vma->inode == 0) {
    put(" anon");
    return;
  }
  int k = 0;
  while (k < file_count && (files[k].inode != vma->inode || files[k].device != vma->device)) k++;
  if (k < file_count) {
    put(" file");
    put_number(k, 10);
  } else {
    /* Shared anonymous memory: transcript.ts renumbers the inodes. */
    put(" zero:");
    put_number(vma->inode, 10);
  }
  put("@");
  put_number(vma->pgoff, 10);
}

/*
 * Prints the letters that follow from the rules; the others depend on the kernel's configuration.
 */
static void put_flags(const char *flags) {
  static const char MEANT[] =
      "rd wr ex sh mr mw me ms gd lo io sr rr dc de ac nr wf dd mm hg nh mg lf ";
  for (; flags[0] != 0 && flags[1] != 0; flags += 3) {
    for (const char *meant = MEANT; *meant != 0; meant += 3) {
      if (meant[0] != flags[0] || meant[1] != flags[1]) continue;
      put(" ");
      put_bytes(flags, 2);
    }
    if (flags[2] == 0) break;
  }
}

static void put_vmas(void) {
  look();
  for (int i = 0; i < vma_count; i++) {
    put("  ");
    put_place(vmas[i].start);
    put("..");
    put_place(vmas[i].end);
    put(" ");
    put(vmas[i].perms);
    put_identity(&vmas[i]);
    put_flags(vmas[i].flags);
    put("\n");
  }
}

/* ---- loads and stores ---- */

static void on_signal(int number, siginfo_t *info, void *context) {
  (void)context;
  caught_signal = number;
  caught_address = (u64)info->si_addr;
  siglongjmp(escape, 1);
}

static const char *signal_name(int number) { return number == SIGBUS ? "SIGBUS" : "SIGSEGV"; }

static void put_signal(void) {
  put("= ");
  put(signal_name(caught_signal));
  put(" ");
  put_place(caught_address & ~(PAGE - 1));
  put("\n");
}

static void step_write(char **words) {
  volatile byte *at = (volatile byte *)place_of(words[2]);
  u64 length = strtoull(words[3], 0, 10);
  byte value = strtoull(words[4], 0, 10);
  if (sigsetjmp(escape, 0) != 0) {
    put_signal();
    return;
  }
  for (u64 i = 0; i < length; i++) at[i] = value;
  put("= 0\n");
}

static void step_read(char **words) {
  volatile byte *at = (volatile byte *)place_of(words[2]);
  u64 length = strtoull(words[3], 0, 10);
  static byte seen[PAGE];
  if (sigsetjmp(escape, 0) != 0) {
    put_signal();
    return;
  }
  for (u64 i = 0; i < length; i++) seen[i] = at[i];
  put("= ");
  for (u64 i = 0; i < length; i++) put_byte(seen[i]);
  put("\n");
}

/*
 * Describes a page as runs of equal bytes, VALUE*COUNT, or by its FNV-1a hash if it has too many.
 */
static void describe_page(const byte *page, char *into) {
  char *end = into;
  int runs = 0;
  for (u64 at = 0; at < PAGE && runs <= 8; runs++) {
    u64 first = at;
    while (at < PAGE && page[at] == page[first]) at++;
    if (runs > 0) *end++ = ' ';
    *end++ = "0123456789abcdef"[page[first] >> 4];
    *end++ = "0123456789abcdef"[page[first] & 15];
    *end++ = '*';
    char digits[8];
    int digit = 0;
    for (u64 rest = at - first; rest != 0; rest /= 10) digits[digit++] = '0' + rest % 10;
    while (digit > 0) *end++ = digits[--digit];
  }
  *end = 0;
  if (runs <= 8) return;
  uint32_t hash = 0x811c9dc5;
  for (u64 at = 0; at < PAGE; at++) hash = (hash ^ page[at]) * 0x01000193;
  strcpy(into, "hash ");
  for (int i = 0; i < 8; i++) into[5 + i] = "0123456789abcdef"[hash >> (28 - 4 * i) & 15];
  into[13] = 0;
}

static void describe_place(u64 address, char *into) {
  static byte copy[PAGE];
  if (sigsetjmp(escape, 0) != 0) {
    strcpy(into, signal_name(caught_signal));
    return;
  }
  for (u64 i = 0; i < PAGE; i += 8) *(u64 *)(copy + i) = *(volatile u64 *)(address + i);
  describe_page(copy, into);
}

static void put_run(u64 start, u64 end, const char *text) {
  put("  ");
  put_place(start);
  put("..");
  put_place(end);
  put(" ");
  put(text);
  put("\n");
}

/* Prints what the process reads in its mappings; successive equal pages share one line. */
static void step_contents(void) {
  static char text[256], before[256];
  look();
  u64 start = 0, end = 0;
  for (int i = 0; i < vma_count; i++) {
    for (u64 at = vmas[i].start; at < vmas[i].end; at += PAGE) {
      describe_place(at, text);
      if (start != 0 && end == at && strcmp(text, before) == 0) {
        end += PAGE;
        continue;
      }
      if (start != 0) put_run(start, end, before);
      start = at;
      end = at + PAGE;
      strcpy(before, text);
    }
  }
  if (start != 0) put_run(start, end, before);
}

/* ---- system calls ---- */

/*
 * Prints where a mapping went. One placed outside the window would disturb later steps: unmap it.
 */
static void put_mapped(long result, u64 length) {
  if (result == -1) {
    put_error();
    return;
  }
  u64 at = result;
  if (at > BASE - NEAR && at < BASE + NEAR) {
    put("= ");
    put_place(at);
    put("\n");
    return;
  }
  put("= elsewhere\n");
  if (syscall(SYS_munmap, at, length) != 0) die("munmap elsewhere");
}

static void put_outcome(long result) {
  if (result == 0) put("= 0\n");
  else put_error();
}

/* P mmap AT LENGTH PROT FLAGS FILE OFFSET; a negative FILE is a bad descriptor */
static void step_mmap(char **words) {
  u64 length = bytes_of(words[3]);
  long k = strtol(words[6], 0, 10);
  int fd = words[6][0] == '-' ? -1 : k < file_count ? files[k].fd : 999;
  long at = syscall(SYS_mmap, place_of(words[2]), length, prot_of(words[4]),
                    flags_of(words[5], MAP_NAMES), fd, bytes_of(words[7]));
  put_mapped(at, length);
}

/* P mremap AT OLD NEW FLAGS NEW_AT */
static void step_mremap(char **words) {
  u64 length = bytes_of(words[4]);
  long at = syscall(SYS_mremap, place_of(words[2]), bytes_of(words[3]), length,
                    flags_of(words[5], MREMAP_NAMES), place_of(words[6]));
  put_mapped(at, length);
}

static void step_mincore(char **words) {
  u64 length = bytes_of(words[3]);
  memset(vector, 0xff, sizeof vector);
  if (syscall(SYS_mincore, place_of(words[2]), length, vector) != 0) {
    put_error();
    return;
  }
  put("= ");
  for (u64 i = 0; i < (length + PAGE - 1) / PAGE; i++) put(vector[i] & 1 ? "1" : "0");
  put("\n");
}

static void step_brk(char **words) {
  put("= ");
  put_place(syscall(SYS_brk, place_of(words[2])));
  put("\n");
}

/* Reads fields of /proc/self/stat, numbered from 1 as in proc(5); skips the name in parentheses. */
static void read_stat(u64 *fields, int last) {
  static char text[4096];
  int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (got <= 0) die("/proc/self/stat");
  close(fd);
  text[got] = 0;
  char *at = strrchr(text, ')') + 4; /* past the state, which is field 3 */
  for (int field = 4; field <= last; field++) fields[field] = strtoull(at, &at, 10);
}

/*
 * P heap AT: places the break. PR_SET_MM_MAP sets all places at once and, unlike the other
 * PR_SET_MM operations, needs no privilege.
 */
static void step_heap(char **words) {
  u64 stat[52];
  u64 at = place_of(words[2]);
  read_stat(stat, 51);
  struct prctl_mm_map map = {
    .start_code = stat[26], .end_code = stat[27], .start_stack = stat[28],
    .start_data = stat[45], .end_data = stat[46], .start_brk = at, .brk = at,
    .arg_start = stat[48], .arg_end = stat[49], .env_start = stat[50], .env_end = stat[51],
    .auxv = 0, .auxv_size = 0, .exe_fd = -1,
  };
  put_outcome(prctl(PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0));
}

static int step_call(char **words, int count) {
  const char *op = words[1];
  u64 at = count > 2 ? place_of(words[2]) : 0;
  u64 length = count > 3 ? bytes_of(words[3]) : 0;
  if (!strcmp(op, "munmap")) put_outcome(syscall(SYS_munmap, at, length));
  else if (!strcmp(op, "mprotect"))
    put_outcome(syscall(SYS_mprotect, at, length, prot_of(words[4])));
  else if (!strcmp(op, "madvise"))
    put_outcome(syscall(SYS_madvise, at, length, flags_of(words[4], ADVICE_NAMES)));
  else if (!strcmp(op, "mlock"))
    put_outcome(syscall(SYS_mlock2, at, length, flags_of(words[4], MLOCK_NAMES)));
  else if (!strcmp(op, "munlock")) put_outcome(syscall(SYS_munlock, at, length));
  else if (!strcmp(op, "msync"))
    put_outcome(syscall(SYS_msync, at, length, flags_of(words[4], MSYNC_NAMES)));
  else return 0;
  return 1;
}

/* ---- processes ---- */

static void await_turn(uint32_t step) {
  for (;;) {
    uint32_t now = __atomic_load_n(&shared->turn, __ATOMIC_ACQUIRE);
    if (now >= step) return;
    syscall(SYS_futex, &shared->turn, FUTEX_WAIT, now, 0, 0, 0);
  }
}

static void pass_turn(uint32_t step) {
  __atomic_store_n(&shared->turn, step + 1, __ATOMIC_RELEASE);
  syscall(SYS_futex, &shared->turn, FUTEX_WAKE, INT_MAX, 0, 0, 0);
}

/* Runs one step; returns the number of the process that continues, or -1 to end. */
static int run_step(uint32_t step, int self) {
  static char copy[512];
  char *words[MAX_WORDS];
  int count = split_words(steps[step], copy, words);
  const char *op = words[1];
  put(steps[step]);
  put("\n");
  if (!strcmp(op, "exit")) return -1;
  if (!strcmp(op, "fork")) {
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
      alarm(PATIENCE);
      return strtol(words[2], 0, 10);
    }
    put("= 0\n");
    put_vmas();
    return self;
  }
  if (!strcmp(op, "contents")) {
    step_contents();
    return self;
  }
  if (!strcmp(op, "mmap")) step_mmap(words);
  else if (!strcmp(op, "mremap")) step_mremap(words);
  else if (!strcmp(op, "mincore")) step_mincore(words);
  else if (!strcmp(op, "brk")) step_brk(words);
  else if (!strcmp(op, "heap")) step_heap(words);
  else if (!strcmp(op, "write")) step_write(words);
  else if (!strcmp(op, "read")) step_read(words);
  else if (strcmp(op, "look") != 0 && !step_call(words, count)) {
    errno = EINVAL;
    die(steps[step]);
  }
  put_vmas();
  return self;
}

static void run_process(int self) {
  alarm(PATIENCE);
  for (uint32_t step = 0; step < step_count; step++) {
    if (strtol(steps[step], 0, 10) != self) continue;
    await_turn(step);
    int next = run_step(step, self);
    if (next < 0) {
      pass_turn(step);
      _exit(0);
    }
    int isChild = next != self;
    self = next; /* a child continues as itself; its parent passes the turn */
    if (!isChild) pass_turn(step);
  }
  _exit(0);
}

/* ---- histories ---- */

static void fill_file(int fd, int k, u64 pages, u64 bytes) {
  byte page[PAGE];
  for (u64 i = 0; i <= pages; i++) {
    memset(page, 0x10 * (k + 1) + i % 16, PAGE);
    u64 length = i < pages ? PAGE : bytes;
    if (write(fd, page, length) != (ssize_t)length) die("write");
  }
}

/* Opens a file without a name; if the file system lacks O_TMPFILE, unlinks a temporary file. */
static int open_unnamed(const char *folder) {
  int fd = open(folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  char path[PATH_MAX];
  size_t length = strlen(folder);
  if (length + 32 > sizeof path) die(folder);
  memcpy(path, folder, length);
  strcpy(path + length, "/history-XXXXXX");
  fd = mkostemp(path, O_CLOEXEC);
  if (fd >= 0) unlink(path);
  return fd;
}

/* file KIND PAGES BYTES: PAGES pages, each of one byte value, then BYTES of one more page. */
static void new_file(char **words, const char *directory, const char *tmpfs) {
  const char *kind = words[1];
  int fd = !strcmp(kind, "memfd") ? (int)memfd_create("history", MFD_CLOEXEC)
                                  : open_unnamed(!strcmp(kind, "tmpfs") ? tmpfs : directory);
  if (fd < 0) die(kind);
  fill_file(fd, file_count, strtoull(words[2], 0, 10), strtoull(words[3], 0, 10));
  /* Identify a file by what its mapping shows: stat(2) may report other numbers. */
  void *at = mmap((void *)BASE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
  if (at == MAP_FAILED) die("mmap of a file");
  look();
  munmap(at, PAGE);
  files[file_count].fd = fd;
  files[file_count].inode = vmas[0].inode;
  files[file_count].device = vmas[0].device;
  file_count++;
}

/* Runs the root and its descendants: the harness adopts orphans and reaps all of them. */
static int run_history(void) {
  shared->turn = 0;
  shared->used = 0;
  pid_t root = fork();
  if (root < 0) die("fork");
  if (root == 0) run_process(0);
  int failed = 0, status;
  while (waitpid(-1, &status, 0) > 0) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
    failed = 1;
    put("died of ");
    put_number(WIFSIGNALED(status) ? WTERMSIG(status) : 1000 + WEXITSTATUS(status), 10);
    put("\n");
    break; /* the others would wait for their turn for ever: they are killed with the group */
  }
  put("end\n");
  for (u64 at = 0; at < shared->used;) {
    ssize_t wrote = write(1, shared->output + at, shared->used - at);
    if (wrote < 0) die("write");
    at += wrote;
  }
  for (int k = 0; k < file_count; k++) close(files[k].fd);
  file_count = 0;
  step_count = 0;
  return failed;
}

static void prepare(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, 0);
  sigaction(SIGBUS, &action, 0);
  struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
  setrlimit(RLIMIT_MEMLOCK, &all); /* fails without privilege: the old limit is enough */
  struct rlimit stack = {8 << 20, RLIM_INFINITY};
  setrlimit(RLIMIT_STACK, &stack);
  setpgid(0, 0); /* a process group of our own, which can be killed as a whole */
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
}

int main(int count, char **arguments) {
  if (count != 3) return 1;
  int protection = PROT_READ | PROT_WRITE, kind = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
  shared = mmap(0, sizeof *shared, protection, kind, -1, 0);
  script = mmap(0, SCRIPT_BYTES, protection, kind, -1, 0);
  if (shared == MAP_FAILED || script == MAP_FAILED) die("mmap");
  u64 used = 0;
  for (ssize_t got; (got = read(0, script + used, SCRIPT_BYTES - 1 - used)) > 0;) used += got;
  prepare();
  int isStep = 0;
  for (char *line = script, *next; *line != 0; line = next) {
    next = strchrnul(line, '\n');
    if (*next != 0) *next++ = 0;
    static char copy[512];
    char *words[MAX_WORDS];
    if (strlen(line) >= sizeof copy) die("a line that long");
    split_words(line, copy, words);
    if (!strcmp(line, "history")) isStep = 1;
    else if (!strcmp(line, "end")) {
      isStep = 0;
      if (run_history()) kill(0, SIGKILL);
    } else if (isStep && !strcmp(words[0], "file")) new_file(words, arguments[1], arguments[2]);
    else if (isStep && step_count < MAX_STEPS) steps[step_count++] = line;
    else die(line);
  }
  return 0;
}

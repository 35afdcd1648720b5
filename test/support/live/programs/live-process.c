/*
 * The C program that the tests dump. It maps memory of every kind at addresses of its own choice,
 * announces each region on one line, and then answers questions until its input ends:
 *
 *  region NAME START PAGES      ready      ping WORD → pong WORD CHECKSUM
 *
 *  live-process regions N DIRECTORY TMPFS  everything: N pages per mapping, files, memory …
 *  live-process split                      two huge pages; the 2 MiB leaf of one was split
 *  live-process collapse                   small pages that could become huge before it stands still
 *  live-process heap                       a heap of three mappings
 *  live-process reserved                   two mappings of 20 GiB: one only read, one written
 *  live-process unmapped DIRECTORY TMPFS   files with pages that none of its page tables shows
 *  live-process files PATH...              one page of every file
 *  live-process private-guards             guard pages over pages of a file in memory
 *  live-process shared-guards              the same, in a shared mapping
 *  live-process zombie                     a child that has ended: 'zombie PID'
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define COLLAPSE 25
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103

typedef unsigned char byte;

static struct { volatile byte *start; size_t bytes; } kept[40000];
static size_t kept_count;

static void die(const char *what) {
  fprintf(stderr, "live-process: %s: %s\n", what, strerror(errno));
  exit(1);
}

/* Regions lie 256 MiB apart, so that none merges with another. */
static byte *place(void) {
  static unsigned long next = 0x100000000000UL;
  next += 0x10000000UL;
  return (byte *)next;
}

static byte *map(size_t pages, int prot, int flags, int fd, size_t first) {
  byte *at = mmap(place(), pages * PAGE, prot, flags | MAP_FIXED_NOREPLACE, fd, first * PAGE);
  if (at == MAP_FAILED) die("mmap");
  return at;
}

static byte *anonymous(size_t pages) {
  return map(pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void announce(const char *name, byte *start, size_t pages) {
  printf("region %s %lx %lu\n", name, (unsigned long)start, (unsigned long)pages);
}

/* Adds these pages to the checksum. */
static void keep(volatile byte *start, size_t pages) {
  kept[kept_count].start = start;
  kept[kept_count++].bytes = pages * PAGE;
}

static void fill(byte *page, uint64_t seed) {
  uint64_t *words = (uint64_t *)page;
  seed = seed * 0x9e3779b97f4a7c15UL + 1;
  for (size_t i = 0; i < PAGE / 8; i++) {
    seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
    words[i] = seed;
  }
}

static void zero(byte *page) { memset(page, 0, PAGE); }

static byte look(volatile byte *page) { return *page; }

/*
 * Stops the kernel from changing our pages. Where huge pages are advised, khugepaged may collapse
 * small pages into a huge page at any time, even while we are stopped (if no 2 MiB block was free
 * at the fault), so that two readings of the process would differ.
 */
static void stand_still(void) { prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); }

static int new_file(const char *directory, const char *name, size_t pages) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) die(path);
  byte page[PAGE];
  for (size_t i = 0; i < pages; i++) {
    fill(page, 1000 + i);
    if (write(fd, page, PAGE) != (ssize_t)PAGE) die(path);
  }
  return fd;
}

/* Makes one VMA per page: protections alternate, and every hundredth page is a hole. */
static void many(size_t pages) {
  byte *start = anonymous(pages);
  for (size_t i = 0; i < pages; i++) {
    if (i % 3 == 0) fill(start + i * PAGE, i);
    if (i % 3 == 1) zero(start + i * PAGE);
    if (i % 3 != 2 && i % 100 != 99) keep(start + i * PAGE, 1);
  }
  for (size_t i = 0; i < pages; i++) {
    byte *page = start + i * PAGE;
    if (i % 100 == 99 && munmap(page, PAGE)) die("munmap");
    if (i % 100 != 99 && i % 2 == 1 && mprotect(page, PAGE, PROT_READ)) die("mprotect");
  }
  announce("many", start, pages);
}

static void private_file(const char *directory) {
  int fd = new_file(directory, "living", 40);
  byte *start = map(40, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  close(fd);
  zero(start + 3 * PAGE);
  fill(start + 5 * PAGE, 5);
  look(start + 7 * PAGE);
  keep(start, 40);
  announce("private-file", start, 40);
}

/*
 * A private mapping below two shared ones: it hides some pages; others only it or only they show.
 */
static void memfd(void) {
  int fd = memfd_create("mmdump test", 0);
  if (fd < 0 || ftruncate(fd, 16 * PAGE)) die("memfd");
  byte *hiding = map(8, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  byte *first = map(16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  byte *second = map(12, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4);
  close(fd);
  fill(first, 60);
  fill(first + PAGE, 61);
  zero(first + 2 * PAGE);
  fill(second + PAGE, 65); /* page 5 of the file; 'first' covers it but has no entry for it */
  zero(second + 5 * PAGE);
  fill(second + 6 * PAGE, 70);
  fill(hiding, 80);
  zero(hiding + 3 * PAGE);
  look(hiding + PAGE);
  announce("memfd-private", hiding, 8);
  announce("memfd-first", first, 16);
  announce("memfd-second", second, 12);
  keep(first, 3);
  keep(second + PAGE, 1);
  keep(second + 6 * PAGE, 1);
}

static void shared_anonymous(void) {
  byte *start = map(8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  fill(start + PAGE, 90);
  zero(start + 2 * PAGE);
  fill(start + 6 * PAGE, 91);
  keep(start + PAGE, 2);
  announce("shared-anonymous", start, 8);
}

static void prot_none(void) {
  byte *start = anonymous(4);
  fill(start + PAGE, 100);
  zero(start + 2 * PAGE);
  if (mprotect(start, 4 * PAGE, PROT_NONE)) die("mprotect");
  announce("prot-none", start, 4);
}

static void only_read(void) {
  byte *start = anonymous(8);
  for (size_t i = 0; i < 4; i++) look(start + i * PAGE);
  announce("only-read", start, 8);
}

/* Four huge pages of 2 MiB: one byte written · only read · half written · untouched. */
static void huge(void) {
  byte *start = anonymous(2048);
  madvise(start, 2048 * PAGE, MADV_HUGEPAGE);
  start[0] = 1;
  look(start + 512 * PAGE);
  for (size_t i = 1024; i < 1280; i++) fill(start + i * PAGE, i);
  keep(start, 1);
  keep(start + 1024 * PAGE, 256);
  announce("huge", start, 2048);
}

static void deleted(const char *directory) {
  int fd = new_file(directory, "unlinked", 16);
  byte *hiding = map(16, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  byte *shared = map(16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  char path[4096];
  snprintf(path, sizeof path, "%s/unlinked", directory);
  if (unlink(path)) die("unlink");
  fill(shared, 110);
  zero(shared + 6 * PAGE);
  look(shared + 2 * PAGE);
  look(hiding + 3 * PAGE);
  zero(hiding + PAGE);
  fill(hiding + 4 * PAGE, 114);
  keep(shared, 16);
  keep(hiding, 16);
  announce("deleted-private", hiding, 16);
  announce("deleted-shared", shared, 16);
}

static void sysv(void) {
  int id = shmget(IPC_PRIVATE, 8 * PAGE, IPC_CREAT | 0600);
  if (id < 0) return;
  byte *first = shmat(id, place(), 0);
  byte *second = shmat(id, place(), SHM_RDONLY);
  shmctl(id, IPC_RMID, NULL);
  if (first == (void *)-1 || second == (void *)-1) die("shmat");
  fill(first + PAGE, 120);
  fill(first + 4 * PAGE, 124);
  look(second + 4 * PAGE);
  announce("sysv-first", first, 8);
  announce("sysv-second", second, 8);
}

static void tmpfs(const char *directory) {
  if (directory[0] == 0) return;
  int fd = new_file(directory, "in memory", 4);
  byte *start = map(4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  look(start + PAGE);
  zero(start + 2 * PAGE);
  announce("tmpfs", start, 4);
}

static void dev_zero(void) {
  int fd = open("/dev/zero", O_RDWR);
  if (fd < 0) return;
  byte *start = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  close(fd);
  fill(start, 130);
  look(start + PAGE);
  announce("dev-zero", start, 4);
}

static void advise(int advice) {
  byte *start = anonymous(4);
  fill(start + 2 * PAGE, 143);
  madvise(start, 4 * PAGE, advice); /* has no effect where the kernel does not know the advice */
}

static void advised(void) {
  advise(MADV_SEQUENTIAL);
  advise(MADV_RANDOM);
  advise(MADV_WIPEONFORK);
  advise(MADV_NOHUGEPAGE);
  map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)[0] = 1;
  byte *start = anonymous(4);
  fill(start + PAGE, 140);
  madvise(start, 4 * PAGE, MADV_DONTDUMP);
  announce("dontdump", start, 4);
  start = anonymous(4);
  fill(start, 141);
  madvise(start, 4 * PAGE, MADV_DONTFORK);
  announce("dontfork", start, 4);
  start = anonymous(4);
  fill(start + PAGE, 142);
  mlock(start, 4 * PAGE); /* populates the pages where locking is permitted */
  announce("locked", start, 4);
}

/* Whether the page map shows a guard page as one: kernels 6.15 and later do. */
static int shows_guard(byte *page) {
  uint64_t entry = 0;
  int fd = open("/proc/self/pagemap", O_RDONLY);
  if (fd < 0 || pread(fd, &entry, 8, (unsigned long)page / PAGE * 8) != 8) entry = 0;
  close(fd);
  return (entry >> 58) & 1;
}

static int install_guards(byte *start, size_t pages) {
  if (madvise(start, pages * PAGE, GUARD_INSTALL)) return 0;
  if (shows_guard(start)) return 1;
  madvise(start, pages * PAGE, GUARD_REMOVE);
  return 0;
}

static void guard(void) {
  byte *start = anonymous(8);
  for (size_t i = 0; i < 8; i++) fill(start + i * PAGE, 150 + i);
  if (install_guards(start + 2 * PAGE, 2)) announce("guard", start, 8);
}

static void regions(size_t pages, const char *directory, const char *memory) {
  many(pages);
  private_file(directory);
  memfd();
  shared_anonymous();
  prot_none();
  only_read();
  huge();
  deleted(directory);
  sysv();
  tmpfs(memory);
  dev_zero();
  advised();
  guard();
}

static void split(void) {
  byte *start = anonymous(1024);
  madvise(start, 1024 * PAGE, MADV_HUGEPAGE);
  for (size_t i = 0; i < 1024; i++) fill(start + i * PAGE, i);
  if (mprotect(start, PAGE, PROT_READ)) die("mprotect");
  if (mprotect(start, PAGE, PROT_READ | PROT_WRITE)) die("mprotect");
  announce("split", start, 1024);
}

static void collapse(void) {
  static const char *const names[] = {"before", "still"};
  for (int i = 0; i < 2; i++) {
    byte *start = anonymous(512);
    fill(start, 1);
    madvise(start, 512 * PAGE, MADV_HUGEPAGE);
    if (i == 1) stand_still();
    if (madvise(start, 512 * PAGE, COLLAPSE) == 0) announce(names[i], start, 512);
  }
}

static void heap(void) {
  byte *start = sbrk(0);
  start = (byte *)(((unsigned long)start + PAGE - 1) & ~(PAGE - 1));
  if (brk(start + 16 * PAGE)) die("brk");
  for (size_t i = 0; i < 16; i++) fill(start + i * PAGE, i);
  if (mprotect(start + 4 * PAGE, PAGE, PROT_READ)) die("mprotect");
  announce("brk", sbrk(0), 0);
}

static void files(char **paths) {
  for (; *paths; paths++) {
    int fd = open(*paths, O_RDONLY);
    if (fd < 0) die(*paths);
    byte *start = map(1, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    look(start);
    announce("file", start, 1);
  }
}

/* Maps a shared file twice: the first mapping has guards where the second has data. */
static void guards(int flags) {
  int fd = memfd_create("mmdump guards", 0);
  if (fd < 0 || ftruncate(fd, 4 * PAGE)) die("memfd");
  byte *first = map(4, PROT_READ | PROT_WRITE, flags, fd, 0);
  byte *second = map(4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  for (size_t i = 0; i < 4; i++) fill(second + i * PAGE, 160 + i);
  if (!install_guards(first + PAGE, 2)) return;
  announce("guards-first", first, 4);
  announce("guards-second", second, 4);
}

static byte *reserve(unsigned long address, size_t pages) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
  byte *at = mmap((void *)address, pages * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (at == MAP_FAILED) die("mmap");
  madvise(at, pages * PAGE, MADV_NOHUGEPAGE);
  return at;
}

static void reserved(void) {
  size_t pages = 5UL << 20;
  byte *only_read = reserve(0x200000000000UL, pages);
  byte *written = reserve(0x300000000000UL, pages);
  look(only_read + 3 * PAGE);
  look(written + 3 * PAGE);
  fill(written + (pages - 1) * PAGE, 230);
  announce("only-read", only_read, pages);
  announce("written", written, pages);
}

/* Pages that were written but have no page-table entry in this process. */
static void unmapped(const char *directory, const char *memory) {
  byte page[PAGE];
  int fd = memfd_create("mmdump unmapped", 0);
  if (fd < 0 || ftruncate(fd, 2048 * PAGE)) die("memfd");
  byte *start = map(2048, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  for (size_t i = 0; i < 2048; i += 500) {
    fill(page, 200 + i);
    if (pwrite(fd, page, PAGE, i * PAGE) != (ssize_t)PAGE) die("pwrite");
  }
  zero(page);
  if (pwrite(fd, page, PAGE, 7 * PAGE) != (ssize_t)PAGE) die("pwrite");
  close(fd);
  fill(start + PAGE, 210);
  announce("memfd", start, 2048);

  start = map(8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) {
    fill(start + 2 * PAGE, 220);
    fill(start + 3 * PAGE, 221);
    _exit(0);
  }
  if (waitpid(child, NULL, 0) < 0) die("waitpid");
  announce("inherited", start, 8);

  fd = new_file(directory, "unmapped", 6);
  zero(page);
  if (pwrite(fd, page, PAGE, 3 * PAGE) != (ssize_t)PAGE) die("pwrite");
  start = map(8, PROT_READ, MAP_PRIVATE, fd, 0);
  close(fd);
  char path[4096];
  snprintf(path, sizeof path, "%s/unmapped", directory);
  if (unlink(path)) die("unlink");
  announce("deleted", start, 8);

  if (memory[0] == 0) return;
  fd = new_file(memory, "unmapped", 4);
  start = map(4, PROT_READ, MAP_SHARED, fd, 1);
  close(fd);
  announce("tmpfs", start, 4);
}

static void zombie(void) {
  siginfo_t info;
  pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) _exit(0);
  if (waitid(P_PID, child, &info, WEXITED | WNOWAIT)) die("waitid");
  printf("zombie %d\n", (int)child);
}

static uint64_t checksum(void) {
  uint64_t sum = 0xcbf29ce484222325UL;
  for (size_t i = 0; i < kept_count; i++) {
    for (size_t at = 0; at < kept[i].bytes; at += 64) {
      sum = (sum ^ kept[i].start[at]) * 0x100000001b3UL;
    }
  }
  return sum;
}

int main(int count, char **words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  static char input[4096], output[4096];
  setvbuf(stdin, input, _IOFBF, sizeof input); /* only a mode may create a heap */
  setvbuf(stdout, output, _IOFBF, sizeof output);
  const char *what = count > 1 ? words[1] : "";
  if (!strcmp(what, "regions") && count == 5) regions(atol(words[2]), words[3], words[4]);
  else if (!strcmp(what, "split")) split();
  else if (!strcmp(what, "collapse")) collapse();
  else if (!strcmp(what, "heap")) heap();
  else if (!strcmp(what, "reserved")) reserved();
  else if (!strcmp(what, "unmapped") && count == 4) unmapped(words[2], words[3]);
  else if (!strcmp(what, "files")) files(words + 2);
  else if (!strcmp(what, "private-guards")) guards(MAP_PRIVATE);
  else if (!strcmp(what, "shared-guards")) guards(MAP_SHARED);
  else if (!strcmp(what, "zombie")) zombie();
  else return 2;
  stand_still();
  printf("ready\n");
  fflush(stdout);
  char line[256];
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    printf("pong %s %lx\n", line + 5, (unsigned long)checksum());
    fflush(stdout);
  }
  return 0;
}

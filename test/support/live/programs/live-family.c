/*
 * The C program of the family tests: a parent, its child and its grandchild, with memory that they
 * share, and memory that each of them has changed since. It announces
 *
 *  region NAME START PAGES (hex, decimal)      child PID      ready
 *
 *  live-family family    three processes · private, huge, file, shared memory, memfd mapped twice
 *  live-family same      two processes with one address space (CLONE_VM)
 *  live-family forking   keeps forking children that end a moment later
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
typedef unsigned char byte;

static void die(const char *what) {
  fprintf(stderr, "live-family: %s: %s\n", what, strerror(errno));
  exit(1);
}

static byte *map(unsigned long at, size_t pages, int flags, int fd) {
  byte *start = mmap((void *)at, pages * PAGE, PROT_READ | PROT_WRITE,
                     flags | MAP_FIXED_NOREPLACE, fd, 0);
  if (start == MAP_FAILED) die("mmap");
  return start;
}

static void announce(const char *name, byte *start, size_t pages) {
  printf("region %s %lx %lu\n", name, (unsigned long)start, (unsigned long)pages);
}

static void fill(byte *start, size_t pages, int value) {
  for (size_t i = 0; i < pages; i++) memset(start + i * PAGE, value + i % 100, PAGE);
}

static byte *private_memory, *huge, *file, *shared;
static int memfd;

/* Generation n changes the private pages numbered n modulo 4, one huge page, page n of the rest. */
static void change(int generation) {
  for (size_t i = generation; i < 64; i += 4) memset(private_memory + i * PAGE, 100 + generation, PAGE);
  memset(huge + (generation * 512 + 7) * PAGE, 200 + generation, PAGE);
  memset(file + generation * PAGE, 210 + generation, PAGE);
  memset(shared + generation * PAGE, 220 + generation, PAGE);
  byte *mine = map(0x300000000000UL + generation * 0x10000000UL, 8, MAP_SHARED, memfd);
  memset(mine + generation * PAGE, 230 + generation, PAGE);
  if (generation == 0) announce("memfd", mine, 8);
}

static void rest(int announced) {
  char done = 0;
  if (write(announced, &done, 1) != 1) _exit(1);
  for (;;) pause();
}

static pid_t beget(int generation);

static pid_t start_child(int generation) {
  int ends[2];
  char done;
  if (pipe(ends)) die("pipe");
  fflush(stdout);
  pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    change(generation);
    if (generation == 1) beget(2);
    fflush(stdout);
    rest(ends[1]);
  }
  if (read(ends[0], &done, 1) != 1) die("a child");
  return child;
}

static pid_t beget(int generation) {
  pid_t child = start_child(generation);
  printf("child %d\n", (int)child);
  return child;
}

static void family(void) {
  private_memory = map(0x200000000000UL, 80, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  fill(private_memory, 64, 1);
  memset(private_memory + 60 * PAGE, 0, PAGE);
  huge = map(0x210000000000UL, 2048, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  madvise(huge, 2048 * PAGE, MADV_HUGEPAGE);
  fill(huge, 2048, 3);
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* inherited: khugepaged copies what forks share */
  FILE *made = tmpfile();
  if (!made || ftruncate(fileno(made), 16 * PAGE)) die("tmpfile");
  file = map(0x220000000000UL, 16, MAP_PRIVATE, fileno(made));
  fill(file, 8, 5);
  shared = map(0x230000000000UL, 8, MAP_SHARED | MAP_ANONYMOUS, -1);
  memfd = memfd_create("mmdump family", 0);
  if (memfd < 0 || ftruncate(memfd, 8 * PAGE)) die("memfd");
  announce("private", private_memory, 80);
  announce("huge", huge, 2048);
  announce("file", file, 16);
  announce("shared", shared, 8);
  beget(1);
  change(0);
}

static int idle(void *unused) {
  (void)unused;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (;;) pause();
}

static void same(void) {
  size_t bytes = 64 * PAGE;
  byte *stack = map(0x240000000000UL, 64, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  pid_t child = clone(idle, stack + bytes, CLONE_VM | SIGCHLD, NULL);
  if (child < 0) die("clone");
  printf("child %d\n", (int)child);
}

static void forking(void) {
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    pid_t child = fork();
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (fork() == 0) { usleep(3000); _exit(0); }
      usleep(2000);
      _exit(0);
    }
    usleep(2000);
    while (waitpid(-1, NULL, WNOHANG) > 0);
  }
}

int main(int count, char **words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const char *what = count > 1 ? words[1] : "";
  if (!strcmp(what, "family")) family();
  else if (!strcmp(what, "same")) same();
  else if (!strcmp(what, "forking")) forking();
  else return 2;
  printf("ready\n");
  fflush(stdout);
  char line[256];
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    printf("pong %s %d\n", line + 5, what[0] == 'f' ? private_memory[0] : 0);
    fflush(stdout);
  }
  return 0;
}

/*
 * Mappings of 16 GiB of which little was touched. It announces itself and them, and waits:
 *
 *  pid PID      region NAME START PAGES (hex, decimal)      ready
 *
 *  few      a few pages far apart: written, only read, guarded, the last one; and
 *           800 pages that are no neighbours
 *  shared   a file in memory with one page, shorter than its mapping
 *  many     one page in 20 MiB
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096UL
#define GIB (1UL << 30)
#define BYTES (16 * GIB)
#define FILE_BYTES (64UL << 20)
#define GUARD_INSTALL 102

static volatile unsigned char *map(const char *name, int flags, int fd) {
  static unsigned long place = 0x100000000000UL;
  place += 0x10000000000UL; /* apart from each other, so that they do not merge */
  void *at = mmap((void *)place, BYTES, PROT_READ | PROT_WRITE,
                  flags | MAP_FIXED_NOREPLACE | MAP_NORESERVE, fd, 0);
  if (at == MAP_FAILED) {
    perror("vast: mmap");
    exit(1);
  }
  printf("region %s %lx %lu\n", name, (unsigned long)at, BYTES / PAGE);
  return at;
}

int main(void) {
  printf("pid %d\n", getpid());
  volatile unsigned char *few = map("few", MAP_PRIVATE | MAP_ANONYMOUS, -1);
  for (size_t page = 0; page < 16; page++) few[page * PAGE] = 1;
  (void)few[GIB];
  if (madvise((void *)(few + 2 * GIB), 2 * PAGE, GUARD_INSTALL) != 0) few[2 * GIB] = 2;
  for (size_t page = 0; page < 1600; page += 2) few[6 * GIB + page * PAGE] = 6;
  few[BYTES - PAGE] = 3;

  int fd = memfd_create("vast", 0);
  if (fd < 0 || ftruncate(fd, FILE_BYTES) != 0) return 1;
  map("shared", MAP_SHARED, fd)[FILE_BYTES - PAGE] = 4;

  volatile unsigned char *many = map("many", MAP_PRIVATE | MAP_ANONYMOUS, -1);
  for (size_t at = 0; at < BYTES; at += 20UL << 20) many[at] = 5;
  printf("ready\n");
  fflush(stdout);
  return getchar();
}

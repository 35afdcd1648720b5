/*
 * sparse FILE GIB [touch]
 *
 * Creates a file of GIB GiB with three pages of data, filled with the bytes "1", "2" and "3": its
 * second page, one in the middle, and its last. Maps the whole file shared and removes its name.
 * Without "touch" none of the pages is mapped; with it, all three are. Prints
 * "region sparse START PAGES" and then "ready".
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PAGE 4096UL

static void die(const char *what) {
  perror(what);
  exit(1);
}

int main(int count, char **words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (count < 3) return 2;
  unsigned long bytes = strtoul(words[2], NULL, 10) << 30;
  unsigned long places[3] = {PAGE, bytes / 2 + 5 * PAGE, bytes - PAGE};
  int fd = open(words[1], O_RDWR | O_CREAT | O_EXCL, 0600);
  if (fd < 0 || ftruncate(fd, bytes)) die(words[1]);
  char page[PAGE];
  for (int i = 0; i < 3; i++) {
    memset(page, '1' + i, PAGE);
    if (pwrite(fd, page, PAGE, places[i]) != (ssize_t)PAGE) die("pwrite");
  }
  volatile char *start = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (start == MAP_FAILED) die("mmap");
  close(fd);
  if (unlink(words[1])) die("unlink");
  for (int i = 0; i < 3 && count > 3; i++) (void)start[places[i]];
  printf("region sparse %lx %lu\nready\n", (unsigned long)start, bytes / PAGE);
  fflush(stdout);
  while (getchar() != EOF) continue;
  return 0;
}

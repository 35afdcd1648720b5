/*
 * The operations of memory-cases.ts on the kernel that the benchmark runs on. One operation a run,
 * in a fresh process, so that its state is rebuilt every time:
 *
 *   real-memory OPERATION COUNT ARGUMENT
 *
 * prints the nanoseconds of every part that was timed, as one object of JSON. COUNT is a number of
 * pages, or of calls where the operation is one; ARGUMENT is a path or a number of bytes.
 *
 * Anonymous memory is of 4 KiB pages throughout (MADV_NOHUGEPAGE), as the simulated memory is.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define VMAS 10000UL /* as in memory-cases.ts */
#define HOLE_STRIDE 7919UL
#define PASSES 4

typedef unsigned char byte;

static void check(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static byte *map(size_t bytes, int prot, int flags, int fd)
{
	byte *at = mmap(NULL, bytes, prot, MAP_PRIVATE | flags, fd, 0);
	check(at != MAP_FAILED, "mmap");
	madvise(at, bytes, MADV_NOHUGEPAGE); /* fails where there are no huge pages at all */
	return at;
}

static byte *map_anonymous(size_t pages)
{
	return map(pages * PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS, -1);
}

static uint64_t write_pages(byte *at, size_t pages)
{
	uint64_t start = now();
	for (size_t page = 0; page < pages; page++)
		*(volatile byte *)(at + page * PAGE) = 1;
	return now() - start;
}

static uint64_t read_pages(const byte *at, size_t pages, size_t stride)
{
	uint64_t start = now();
	for (size_t page = 0; page < pages; page += stride)
		(void)*(const volatile byte *)(at + page * PAGE);
	return now() - start;
}

static uint64_t unmap(byte *at, size_t pages)
{
	uint64_t start = now();
	check(munmap(at, pages * PAGE) == 0, "munmap");
	return now() - start;
}

static void anonymous_write(size_t pages)
{
	byte *at = map_anonymous(pages);
	uint64_t fault = write_pages(at, pages);
	printf("{\"fault\":%lu,\"unmap\":%lu}\n", fault, unmap(at, pages));
}

static void anonymous_read(size_t pages)
{
	printf("{\"fault\":%lu}\n", read_pages(map_anonymous(pages), pages, 1));
}

/* Every page, and one page of every 16: the kernel maps 16 at a fault where they are cached. */
static void file_read(size_t pages, const char *path)
{
	static byte buffer[1 << 20];
	int fd = open(path, O_RDONLY);
	check(fd >= 0, path);
	while (read(fd, buffer, sizeof buffer) > 0)
		; /* into the page cache, if it is not there any more */
	uint64_t every = read_pages(map(pages * PAGE, PROT_READ, 0, fd), pages, 1);
	uint64_t apart = read_pages(map(pages * PAGE, PROT_READ, 0, fd), pages, 16);
	printf("{\"every\":%lu,\"apart\":%lu}\n", every, apart);
}

struct child {
	pid_t pid;
	int pipe;
	uint64_t fork; /* nanoseconds in the parent */
};

/* A child that touches nothing and exits as soon as its end of the pipe is closed. */
static struct child start_child(void)
{
	struct child child;
	int ends[2];
	char nothing;
	check(pipe(ends) == 0, "pipe");
	uint64_t start = now();
	child.pid = fork();
	if (child.pid == 0) {
		close(ends[1]);
		while (read(ends[0], &nothing, 1) > 0)
			;
		_exit(0);
	}
	child.fork = now() - start;
	check(child.pid > 0, "fork");
	close(ends[0]);
	child.pipe = ends[1];
	return child;
}

static uint64_t end_child(struct child child)
{
	uint64_t start = now();
	close(child.pipe);
	check(waitpid(child.pid, NULL, 0) == child.pid, "waitpid");
	return now() - start;
}

static void cow_write(size_t pages)
{
	byte *at = map_anonymous(pages);
	write_pages(at, pages);
	struct child child = start_child();
	uint64_t fault = write_pages(at, pages);
	end_child(child);
	printf("{\"fault\":%lu}\n", fault);
}

static void fork_exit(size_t pages)
{
	write_pages(map_anonymous(pages), pages);
	struct child child = start_child();
	printf("{\"fork\":%lu,\"exit\":%lu}\n", child.fork, end_child(child));
}

static void copy(size_t pages, size_t chunk, int writes)
{
	size_t bytes = pages * PAGE;
	byte *at = map_anonymous(pages);
	byte *buffer = aligned_alloc(PAGE, chunk);
	check(buffer != NULL, "aligned_alloc");
	memset(buffer, 1, chunk);
	memset(at, 1, bytes);
	uint64_t start = now();
	for (int pass = 0; pass < PASSES; pass++) {
		for (size_t done = 0; done < bytes; done += chunk) {
			if (writes)
				memcpy(at + done, buffer, chunk);
			else
				memcpy(buffer, at + done, chunk);
			__asm__ volatile("" : : "r"(buffer), "r"(at) : "memory");
		}
	}
	printf("{\"copy\":%lu}\n", now() - start);
}

/* VMAS mappings of one page, protections in turn, with a hole of one page after each. */
static byte *map_many(void)
{
	byte *at = map(2 * VMAS * PAGE, PROT_READ, MAP_ANONYMOUS, -1);
	for (size_t vma = 0; vma < VMAS; vma++) {
		byte *page = at + 2 * vma * PAGE;
		check(munmap(page + PAGE, PAGE) == 0, "munmap");
		if (vma % 2 == 1)
			check(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0, "mprotect");
	}
	return at;
}

static void map_in_holes(size_t calls)
{
	byte *area = map_many();
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	uint64_t start = now();
	for (size_t call = 0; call < calls; call++) {
		size_t hole = (call * HOLE_STRIDE) % VMAS;
		byte *at = mmap(area + (2 * hole + 1) * PAGE, PAGE, PROT_NONE, flags, -1, 0);
		check(at != MAP_FAILED, "mmap");
		check(munmap(at, PAGE) == 0, "munmap");
	}
	printf("{\"pair\":%lu}\n", now() - start);
}

/* Two pages fit into none of the holes: a place has to be sought. */
static void map_sought(size_t calls)
{
	map_many();
	uint64_t start = now();
	for (size_t call = 0; call < calls; call++) {
		byte *at = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check(at != MAP_FAILED, "mmap");
		check(munmap(at, 2 * PAGE) == 0, "munmap");
	}
	printf("{\"pair\":%lu}\n", now() - start);
}

int main(int count, char **words)
{
	check(count == 4, "OPERATION COUNT ARGUMENT");
	const char *operation = words[1];
	size_t number = strtoull(words[2], NULL, 10);
	size_t chunk = strtoull(words[3], NULL, 10);
	if (strcmp(operation, "anonymous-write") == 0)
		anonymous_write(number);
	else if (strcmp(operation, "anonymous-read") == 0)
		anonymous_read(number);
	else if (strcmp(operation, "file-read") == 0)
		file_read(number, words[3]);
	else if (strcmp(operation, "cow-write") == 0)
		cow_write(number);
	else if (strcmp(operation, "fork-exit") == 0)
		fork_exit(number);
	else if (strcmp(operation, "read") == 0)
		copy(number, chunk, 0);
	else if (strcmp(operation, "write") == 0)
		copy(number, chunk, 1);
	else if (strcmp(operation, "map-in-holes") == 0)
		map_in_holes(number);
	else if (strcmp(operation, "map-sought") == 0)
		map_sought(number);
	else
		check(0, operation);
	return 0;
}

/*
 * clock.c
 *		A clock that can be set: preloaded, it is as many seconds ahead as the file
 *		JFLOW_CLOCK_FILE says, a number of 8 bytes.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t none = 0;

static const volatile int64_t *
ahead(void)
{
	static const volatile int64_t *place;
	const char *name = getenv("JFLOW_CLOCK_FILE");
	void	   *mapped = MAP_FAILED;
	int			fd;

	if (place)
		return place;
	if (name && (fd = open(name, O_RDONLY)) >= 0)
	{
		mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
	}
	place = mapped == MAP_FAILED ? &none : mapped;
	return place;
}

int
gettimeofday(struct timeval *tv, void *zone)
{
	struct timespec now;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &now);
	tv->tv_sec = now.tv_sec + *ahead();
	tv->tv_usec = now.tv_nsec / 1000;
	return 0;
}

/*
 * hang.c
 *		A name server that does not answer: preloaded, it lets look-ups of names
 *		that begin with "hangs." take a minute.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int
getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
			struct addrinfo **result)
{
	int			(*real) (const char *, const char *, const struct addrinfo *, struct addrinfo **) =
		dlsym(RTLD_NEXT, "getaddrinfo");

	if (node && strncmp(node, "hangs.", 6) == 0)
		for (int i = 0; i < 60; i++)
			sleep(1);
	return real(node, service, hints, result);
}

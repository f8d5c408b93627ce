/*
 * inputs.c
 *		The files that the arguments name, folders recursively.
 *
 * A folder's entries come in the order of their names' bytes, so that a post that
 * is resumed sees them in the same order.  Names that begin with a dot are left
 * out, as are links to folders, which could go in circles, and what is no file.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "post.h"

typedef struct Folder
{
	char	   *path;
	char	  **names;
	int			nnames;
	int			next;
} Folder;

struct Inputs
{
	int			nargs;
	char	  **args;
	int			arg;			/* the next one */
	Folder	   *folders;		/* those we are in, outermost first */
	int			nfolders;
	char	   *path;			/* returned last */
	int			skip_arg;
	char	   *skip_path;		/* what sorts before it is left out, or NULL */
};

/* Files to read, by the arguments, which must stay as long as they are read. */
Inputs *
inputs_open(int nargs, char **args)
{
	Inputs	   *inputs = allocate(sizeof(Inputs));

	inputs->nargs = nargs;
	inputs->args = args;
	return inputs;
}

/* Leave out what comes before this file. */
void
inputs_skip_to(Inputs *inputs, int arg, const char *path)
{
	inputs->skip_arg = arg;
	inputs->skip_path = copy_string(path);
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The order in which a walk meets two files: component by component. */
static int
compare_paths(const char *a, const char *b)
{
	while (*a && *a == *b)
	{
		a++;
		b++;
	}
	if (*a == *b)
		return 0;
	if (!*a || *a == '/')
		return -1;
	if (!*b || *b == '/')
		return 1;
	return (unsigned char) *a < (unsigned char) *b ? -1 : 1;
}

static void
enter_folder(Inputs *inputs, const char *path)
{
	Folder	   *folder;
	struct dirent *entry;
	DIR		   *dir = opendir(path);
	int			size = 0;

	if (!dir)
		fail_with(EXIT_USAGE, NULL, "could not open folder \"%s\": %s", path, strerror(errno));
	inputs->folders = reallocate(inputs->folders, (inputs->nfolders + 1) * sizeof(Folder));
	folder = &inputs->folders[inputs->nfolders++];
	memset(folder, 0, sizeof(*folder));
	folder->path = copy_string(path);
	for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0)
	{
		if (entry->d_name[0] == '.')
			continue;
		if (folder->nnames == size)
		{
			size = size > 0 ? size * 2 : 64;
			folder->names = reallocate(folder->names, size * sizeof(char *));
		}
		folder->names[folder->nnames++] = copy_string(entry->d_name);
	}
	if (errno != 0)
		fail_with(EXIT_USAGE, NULL, "could not read folder \"%s\": %s", path, strerror(errno));
	closedir(dir);
	qsort(folder->names, folder->nnames, sizeof(char *), compare_names);
}

static void
leave_folder(Inputs *inputs)
{
	Folder	   *folder = &inputs->folders[--inputs->nfolders];

	for (int i = 0; i < folder->nnames; i++)
		free(folder->names[i]);
	free(folder->names);
	free(folder->path);
}

/* The path in a folder, without a second slash. */
static char *
join_path(const char *folder, const char *name)
{
	size_t		len = strlen(folder);

	return format_string(len > 0 && folder[len - 1] == '/' ? "%s%s" : "%s/%s", folder, name);
}

/* The next file of the innermost folder, or NULL when it has no more. */
static char *
next_in_folder(Inputs *inputs)
{
	Folder	   *folder = &inputs->folders[inputs->nfolders - 1];

	while (folder->next < folder->nnames)
	{
		char	   *path = join_path(folder->path, folder->names[folder->next++]);
		struct stat info;

		if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode))
		{
			enter_folder(inputs, path);
			folder = &inputs->folders[inputs->nfolders - 1];
		}
		else if (stat(path, &info) != 0 || S_ISREG(info.st_mode))
			return path;		/* one that is missing is told when it is
								 * opened */
		free(path);
	}
	return NULL;
}

static char *
next_path(Inputs *inputs)
{
	for (;;)
	{
		struct stat info;
		char	   *path;

		while (inputs->nfolders > 0)
		{
			path = next_in_folder(inputs);
			if (path)
				return path;
			leave_folder(inputs);
		}
		if (inputs->arg >= inputs->nargs)
			return NULL;
		path = inputs->args[inputs->arg++];
		if (strcmp(path, "-") == 0 || stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
			return copy_string(path);
		enter_folder(inputs, path);
	}
}

/* The path of the next file and the argument that it comes from, or NULL. */
const char *
inputs_next(Inputs *inputs, int *arg)
{
	for (;;)
	{
		free(inputs->path);
		inputs->path = next_path(inputs);
		*arg = inputs->arg - 1;
		if (!inputs->path || !inputs->skip_path || *arg > inputs->skip_arg)
			return inputs->path;
		if (*arg == inputs->skip_arg && compare_paths(inputs->path, inputs->skip_path) >= 0)
			return inputs->path;
	}
}

/* Bytes of all files that are left, or -1 where that is not known; ends the walk. */
int64_t
inputs_bytes(Inputs *inputs)
{
	int64_t		bytes = 0;
	const char *path;
	int			arg;

	while ((path = inputs_next(inputs, &arg)) != NULL)
	{
		struct stat info;

		if (strcmp(path, "-") == 0 || stat(path, &info) != 0 || !S_ISREG(info.st_mode))
			bytes = -1;
		else if (bytes >= 0)
			bytes += info.st_size;
	}
	free(inputs->folders);
	free(inputs->skip_path);
	free(inputs);
	return bytes;
}

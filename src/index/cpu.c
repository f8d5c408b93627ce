/*
 * cpu.c
 *		Choosing kernels at run time.
 *
 * Nothing is built for one machine: a function that pays is compiled for a
 * level of instructions and called only where the processor has them.
 */
#include "postgres.h"

#include "index/cpu.h"

static const char *const names[] = {
	[IX_CPU_PORTABLE] = "portable",
	[IX_CPU_AVX2] = "avx2",
	[IX_CPU_AVX512] = "avx512",
	[IX_CPU_NEON] = "neon",
};

/* Name of a level, a constant. */
const char *
ix_cpu_name(IxCpuLevel level)
{
	return names[level];
}

/*
 * Does this machine have a level's instructions?
 */
bool
ix_cpu_has(IxCpuLevel level)
{
	switch (level)
	{
		case IX_CPU_PORTABLE:
			return true;
#if defined(__x86_64__)
		case IX_CPU_AVX2:
			__builtin_cpu_init();
			return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
		case IX_CPU_AVX512:
			__builtin_cpu_init();
			return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
				__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
				__builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
		case IX_CPU_NEON:
			return true;
#endif
		default:
			return false;
	}
}

/*
 * The level to use: the highest that the machine has, or the one that
 * JFLOW_KERNELS in the server's environment names, so that tests can run with
 * each.
 */
IxCpuLevel
ix_cpu_level(void)
{
	const char *wanted = getenv("JFLOW_KERNELS");
	IxCpuLevel	best = IX_CPU_PORTABLE;

	for (int level = 0; level < (int) lengthof(names); level++)
	{
		if (!ix_cpu_has(level))
			continue;
		if (wanted && strcmp(names[level], wanted) == 0)
			return level;
		best = level;
	}
	return best;
}

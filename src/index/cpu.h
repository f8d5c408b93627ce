/*
 * cpu.h
 *		Which vector instructions inner loops may use.
 */
#ifndef INDEX_CPU_H
#define INDEX_CPU_H

typedef enum IxCpuLevel
{
	IX_CPU_PORTABLE,
	IX_CPU_AVX2,				/* AVX2 and FMA */
	IX_CPU_AVX512,				/* F, BW, VL, DQ, VBMI and VNNI */
	IX_CPU_NEON
} IxCpuLevel;

extern bool ix_cpu_has(IxCpuLevel level);
extern IxCpuLevel ix_cpu_level(void);
extern const char *ix_cpu_name(IxCpuLevel level);

#endif							/* INDEX_CPU_H */

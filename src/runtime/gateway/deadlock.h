/*
 * deadlock.h
 *		Lock cycles that pass through a gateway.
 */
#ifndef JFLOW_DEADLOCK_H
#define JFLOW_DEADLOCK_H

extern void jflow_check_deadlock(void);
extern bool jflow_waits_for_us(int pid);

#endif							/* JFLOW_DEADLOCK_H */

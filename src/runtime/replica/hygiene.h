/*
 * hygiene.h
 *		What a request could leave behind in a replica's session, and its end.
 */
#ifndef JFLOW_HYGIENE_H
#define JFLOW_HYGIENE_H

extern bool jflow_hygiene_temp(void);
extern void jflow_hygiene_fire_deferred(void);
extern void jflow_hygiene_clean(bool temp);

#endif							/* JFLOW_HYGIENE_H */

/*
 * text.h
 *		The order of ids and keys.
 */
#ifndef JFLOW_TEXT_H
#define JFLOW_TEXT_H

extern int	jflow_text_order(Datum a, Datum b);
extern int	jflow_texts_order(const void *a, const void *b);

#endif							/* JFLOW_TEXT_H */

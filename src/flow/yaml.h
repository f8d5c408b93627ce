/*
 * yaml.h
 *		YAML from and to jsonb: yaml.c reads, yaml_write.c writes.
 */
#ifndef JFLOW_YAML_H
#define JFLOW_YAML_H

#include "utils/jsonb.h"

/* yaml.c */
extern Jsonb *jflow_yaml_to_jsonb(const char *yaml, int len);

/* yaml_write.c */
extern char *jflow_jsonb_to_yaml(Jsonb *json);

#endif							/* JFLOW_YAML_H */

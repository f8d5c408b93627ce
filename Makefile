# jflow: built with PGXS.  `make setup` installs what is missing, `make demo`
# runs the main job on a private cluster, `make check` passes every test.

EXTENSION = jflow
EXTVERSION = 0.1.0

MODULE_big = jflow
OBJS = $(patsubst %.c,%.o,$(filter-out src/cli/%,$(sort $(wildcard src/*.c src/*/*.c src/*/*/*.c))))
DATA = $(sort $(wildcard sql/jflow--*--*.sql))
DATA_built = sql/jflow--$(EXTVERSION).sql
SQL_PARTS = $(sort $(wildcard sql/[0-9]*.sql))

SHLIB_LINK = -lyaml
PG_CPPFLAGS = -I$(srcdir)/src -I$(INCLUDEDIR_VECTOR) -DJFLOW_VERSION=\"$(EXTVERSION)\"
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare
EXTRA_CLEAN = $(DATA_built) tmp_check output_iso results

REGRESS = $(patsubst test/sql/%.sql,%,$(sort $(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --outputdir=$(CURDIR)/tmp_check/regress --expecteddir=. --load-extension=vector --load-extension=jflow

PG_CONFIG ?= pg_config
INCLUDEDIR_VECTOR = $(shell $(PG_CONFIG) --includedir-server)/extension/vector
# No bitcode: nothing of ours is worth inlining into queries, and clang is large.
override with_llvm := no

# These targets set a machine up first and so must not need PGXS to be there.
TOPLEVEL = setup demo check check-upgrade bench soak
ifneq (,$(filter $(TOPLEVEL),$(MAKECMDGOALS)))
.PHONY: $(TOPLEVEL)
$(TOPLEVEL):
	@PG_MAJOR=$(PG_MAJOR) script/$@
else
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(DATA_built): $(SQL_PARTS)
	cat $^ > $@

# Loops over the dimensions of vectors, as the server builds its own arithmetic.
src/pq/pqencode.o src/pq/pqkernel.o src/pq/pqkmeans.o src/pq/pqspace.o src/pq/pqtrain.o: CFLAGS += $(CFLAGS_VECTORIZE)

# Every object depends on every header: the tree is small, and a stale object is dear.
$(OBJS): $(wildcard src/*.h src/*/*.h src/*/*/*.h)
endif

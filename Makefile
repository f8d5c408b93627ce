# jflow: built with PGXS.  `make setup` installs what is missing, `make demo`
# runs the main job on a private cluster, `make check` passes every test.
# PGXS builds the library of src/; the rules at the end build what it can not
# build beside one: the program of src/cli and the library of src/http.

EXTENSION = jflow
EXTVERSION = 0.1.0

# Without libcurl, 7.87 or later, all but HttpExecutor works.
with_curl ?= $(shell printf '\043include <curl/curl.h>\n\043if LIBCURL_VERSION_NUM < 0x075700\n\043error\n\043endif\n' | $$(command -v cc || command -v gcc || echo false) -E -x c - >/dev/null 2>&1 && echo yes)

# The tree may be elsewhere than the build, as Debian's pg_buildext has it.
tree := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
files = $(sort $(patsubst $(tree)/%,%,$(wildcard $(addprefix $(tree)/,$(1)))))
SOURCES := $(call files,src/*.c src/*/*.c src/*/*/*.c)
CLI_OBJS := $(patsubst %.c,%.o,$(filter src/cli/%,$(SOURCES)))
HTTP_OBJS := $(if $(with_curl),$(patsubst %.c,%.o,$(filter src/http/%,$(SOURCES))))

MODULE_big = jflow
OBJS = $(patsubst %.c,%.o,$(filter-out src/cli/% src/http/%,$(SOURCES)))
DATA = $(call files,sql/jflow--*--*.sql)
DATA_built = sql/jflow--$(EXTVERSION).sql
SQL_PARTS = $(call files,sql/[0-9]*.sql)

SHLIB_LINK = -lyaml $(libpq)
HTTP_LINK = -lcurl
PG_CPPFLAGS = -I$(srcdir)/src -I$(INCLUDEDIR_VECTOR) -I$(libpq_srcdir) -DJFLOW_VERSION=\"$(EXTVERSION)\"
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare
EXTRA_CLEAN = $(DATA_built) $(CLI_OBJS) jflow $(HTTP_OBJS) jflow_http$(DLSUFFIX) tmp_check output_iso results

# With what script/fuzz feeds to its readers; FUZZ is libFuzzer's archive, FUZZ_CC clang.
ifneq (,$(FUZZ))
OBJS += test/fuzz/fuzz.o
PG_CFLAGS += -fsanitize=fuzzer-no-link,bounds,integer-divide-by-zero,unreachable,return,null -fsanitize-trap=bounds,integer-divide-by-zero,unreachable,return,null
SHLIB_LINK += $(FUZZ) -lstdc++
# what reads pages compares too much to tell libFuzzer of each time
src/index/%.o src/inverted/%.o src/pq/%.o: override CFLAGS += -fno-sanitize-coverage=trace-cmp,indirect-calls,stack-depth
endif

REGRESS = $(patsubst test/sql/%.sql,%,$(call files,test/sql/*.sql))
# The expected output is beside the tests only in a folder made for it: before
# version 16 pg_regress does not look elsewhere.
REGRESS_DIR = $(CURDIR)/tmp_check/regress
REGRESS_PREP = regress-dir
REGRESS_OPTS = --inputdir=$(REGRESS_DIR) --outputdir=$(REGRESS_DIR) $(REGRESS_EXPECTED) --load-extension=vector --load-extension=jflow
REGRESS_EXPECTED = $(if $(filter 15,$(MAJORVERSION)),,--expecteddir=$(REGRESS_DIR))

PG_CONFIG ?= pg_config
INCLUDEDIR_VECTOR = $(shell $(PG_CONFIG) --includedir-server)/extension/vector
# No bitcode: nothing of ours is worth inlining into queries, and clang is large.
override with_llvm := no

# These targets set a machine up first and so must not need PGXS to be there.
TOPLEVEL = setup demo docs check check-packages check-upgrade bench soak fuzz
ifneq (,$(filter $(TOPLEVEL),$(MAKECMDGOALS)))
.PHONY: $(TOPLEVEL)
$(TOPLEVEL):
	@PG_MAJOR=$(PG_MAJOR) $(tree)/script/$@
else
ifneq ($(tree),.)
$(shell mkdir -p $(sort $(dir $(OBJS) $(CLI_OBJS) $(HTTP_OBJS) $(DATA_built))))
endif
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
ifneq (,$(FUZZ))
CC = $(FUZZ_CC)
endif

# A part that speaks of @method@ holds for each index method.
$(DATA_built): $(SQL_PARTS)
	for part in $^; do \
		if grep -q @method@ $$part; then sed 's/@method@/pq/g' $$part; sed 's/@method@/inverted/g' $$part; \
		else cat $$part; fi; \
	done > $@

.PHONY: regress-dir
regress-dir:
	$(MKDIR_P) $(REGRESS_DIR)
	rm -rf $(REGRESS_DIR)/sql $(REGRESS_DIR)/expected
	cp -r $(srcdir)/test/sql $(srcdir)/expected $(REGRESS_DIR)/

# Loops over the dimensions of vectors, as the server builds its own arithmetic.
src/pq/pqencode.o src/pq/pqkernel.o src/pq/pqkmeans.o src/pq/pql1.o src/pq/pqspace.o src/pq/pqtrain.o: CFLAGS += $(CFLAGS_VECTORIZE)

# Every object depends on every header: the tree is small, and a stale object is dear.
$(OBJS) $(HTTP_OBJS): $(call files,src/*.h src/*/*.h src/*/*/*.h)
$(CLI_OBJS): $(call files,src/cli/*.h)

.PHONY: install-client uninstall-client install-http uninstall-http

# The client knows libpq and nothing of the server's.
$(CLI_OBJS): override CPPFLAGS = -D_GNU_SOURCE -I$(includedir) -DJFLOW_VERSION=\"$(EXTVERSION)\"
jflow: $(CLI_OBJS)
	$(CC) $(CFLAGS) $^ $(LDFLAGS) $(LDFLAGS_EX) $(libpq) -o $@
bashcompdir ?= $(datadir)/bash-completion/completions
zshcompdir ?= $(datadir)/zsh/site-functions
all: jflow
install: install-client
install-client: jflow
	$(MKDIR_P) '$(DESTDIR)$(bindir)' '$(DESTDIR)$(mandir)/man1' '$(DESTDIR)$(bashcompdir)' '$(DESTDIR)$(zshcompdir)'
	$(INSTALL_PROGRAM) jflow '$(DESTDIR)$(bindir)/'
	$(INSTALL_DATA) $(srcdir)/docs/jflow.1 '$(DESTDIR)$(mandir)/man1/'
	$(INSTALL_DATA) $(srcdir)/contrib/completion/jflow.bash '$(DESTDIR)$(bashcompdir)/jflow'
	$(INSTALL_DATA) $(srcdir)/contrib/completion/_jflow '$(DESTDIR)$(zshcompdir)/'
uninstall: uninstall-client
uninstall-client:
	rm -f '$(DESTDIR)$(bindir)/jflow' '$(DESTDIR)$(mandir)/man1/jflow.1'
	rm -f '$(DESTDIR)$(bashcompdir)/jflow' '$(DESTDIR)$(zshcompdir)/_jflow'

# What speaks HTTP is a library of its own, so that only those who use it load libcurl.
ifneq (,$(HTTP_OBJS))
jflow_http$(DLSUFFIX): $(HTTP_OBJS)
	$(LINK.shared) -o $@ $^ $(LDFLAGS) $(LDFLAGS_SL) $(HTTP_LINK)
all: jflow_http$(DLSUFFIX)
install: install-http
install-http: jflow_http$(DLSUFFIX) | installdirs
	$(INSTALL_SHLIB) $< '$(DESTDIR)$(pkglibdir)/'
uninstall: uninstall-http
uninstall-http:
	rm -f '$(DESTDIR)$(pkglibdir)/jflow_http$(DLSUFFIX)'
endif
endif

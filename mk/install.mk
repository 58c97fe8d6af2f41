# Installing and packaging.
bindir = $(DESTDIR)$(PREFIX)/bin
libdir = $(DESTDIR)$(PREFIX)/lib
includedir = $(DESTDIR)$(PREFIX)/include
datadir = $(DESTDIR)$(PREFIX)/share

$(B)/vqc.pc: tools/vqc.pc.in FORCE
	@mkdir -p $(@D)
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' -e 's|@REQUIRES@|$(PKGS)|' \
		-e 's|@OPENMP@|$(OPENMP)|' $< > $@

##@ Install
install: all $(B)/vqc.pc ## to $(DESTDIR)$(PREFIX): program, libraries, header, vqc.pc, man page, completion, recipes
	install -d $(bindir) $(libdir)/pkgconfig $(includedir) $(datadir)/man/man1 \
		$(datadir)/bash-completion/completions $(datadir)/vqc/configs
	install -m 755 $(B)/vqc $(bindir)/vqc
	install -m 644 $(B)/libvqc.a $(libdir)/libvqc.a
	install -m 644 $(B)/libvqc.so.$(VERSION) $(libdir)/libvqc.so.$(VERSION)
	ln -sf libvqc.so.$(VERSION) $(libdir)/libvqc.so.$(SOVERSION)
	ln -sf libvqc.so.$(SOVERSION) $(libdir)/libvqc.so
	install -m 644 core/vqc.h $(includedir)/vqc.h
	install -m 644 $(B)/vqc.pc $(libdir)/pkgconfig/vqc.pc
	install -m 644 man/vqc.1 $(datadir)/man/man1/vqc.1
	install -m 644 completions/vqc.bash $(datadir)/bash-completion/completions/vqc
	install -m 644 configs/* $(datadir)/vqc/configs

uninstall: ## removes what install put there
	rm -f $(bindir)/vqc $(libdir)/libvqc.a $(libdir)/libvqc.so $(libdir)/libvqc.so.$(SOVERSION) \
		$(libdir)/libvqc.so.$(VERSION) $(includedir)/vqc.h $(libdir)/pkgconfig/vqc.pc \
		$(datadir)/man/man1/vqc.1 $(datadir)/bash-completion/completions/vqc
	rm -rf $(datadir)/vqc

install-check: all ## installs into a folder, builds a program against it with pkg-config and runs it
	+@MAKE='$(MAKE)' B=$(B) CC=$(CC) tests/install/run.sh

.PHONY: install uninstall install-check

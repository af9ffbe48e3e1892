/* SPDX-License-Identifier: MIT */
/* zlib.h - reads what is not compressed, where zlib is not at hand: for machines that ci/portable.sh compiles for. */
#ifndef PORTABLE_ZLIB_H
#define PORTABLE_ZLIB_H

#include <stdio.h>

typedef FILE *gzFile;
enum { Z_OK = 0 };

static inline gzFile gzopen(const char *path, const char *mode)
{
    return fopen(path, mode);
}

static inline char *gzgets(gzFile file, char *text, int size)
{
    return fgets(text, size, file);
}

static inline const char *gzerror(gzFile file, int *code)
{
    *code = ferror(file);
    return "it cannot be read";
}

static inline int gzclose(gzFile file)
{
    return fclose(file);
}

#endif

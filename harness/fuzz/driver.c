/* SPDX-License-Identifier: MIT */
/* driver.c - runs one target: for libFuzzer and AFL++ (-DFUZZ_ENGINE), which bring a main of their own and
 * call LLVMFuzzerTestOneInput; or with the plain main below, which replays files and folders or makes
 * inputs from a seed, shrinks what fails, and counts. */
#define _GNU_SOURCE
#include "fuzz.h"
#include "mutate.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>

bool fuzz_telling;
uint64_t fuzz_steps, fuzz_digest;
uint32_t fuzz_kit;
static uint32_t kit_wanted = FUZZ_KITS; /* below that: this one, whatever the input says */
void (*fuzz_watch)(uint64_t now_ms, const uint8_t *data, uint32_t size);
enum fuzz_oracles fuzz_oracles = FUZZ_MODEL;
const uint8_t *draw_at, *draw_end;

static bool trying; /* a failure only comes back */
static jmp_buf try_failed;
static const uint8_t *input;
static size_t input_size;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- memory of a run ---- */

enum { KEPT_MAX = 4096 }; /* beyond that nobody frees, and the leak is seen */
static void *kept[KEPT_MAX];
static uint32_t kept_count;

static void *keep(void *memory)
{
    if (memory == NULL) {
        fputs("out of memory\n", stderr);
        exit(2);
    }
    if (kept_count < KEPT_MAX)
        kept[kept_count++] = memory;
    return memory;
}

void *fuzz_alloc(size_t size, size_t align)
{
    void *memory = keep(aligned_alloc(align, (size + align - 1) / align * align));
    memset(memory, 0, size);
    return memory;
}

uint8_t *fuzz_exact(const void *data, size_t size)
{
    uint8_t *memory = keep(malloc(size > 0 ? size : 1));
    if (size > 0 && data != NULL)
        memcpy(memory, data, size);
    else
        memset(memory, 0, size > 0 ? size : 1);
#ifdef __SANITIZE_ADDRESS__
#define FUZZ_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_POISON 1
#endif
#endif
#ifdef FUZZ_POISON
    void __asan_poison_memory_region(void const volatile *, size_t);
    if (size == 0) /* not even the one byte */
        __asan_poison_memory_region(memory, 1);
#endif
    return memory;
}

void fuzz_free(void *memory)
{
    for (uint32_t i = kept_count; i-- > 0;)
        if (kept[i] == memory) {
            kept[i] = kept[--kept_count];
            break;
        }
    free(memory);
}

static void forget(void)
{
    while (kept_count > 0)
        free(kept[--kept_count]);
}

/* ---- failing and telling ---- */

void fuzz_tell(const char *format, ...)
{
    va_list values;
    if (!fuzz_telling)
        return;
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    putchar('\n');
}

void fuzz_fail(const char *format, ...)
{
    va_list values;
    if (trying)
        longjmp(try_failed, 1);
    if (!fuzz_telling) { /* once more, in words */
        fuzz_telling = true;
        LLVMFuzzerTestOneInput(input, input_size);
        printf("it did not happen again\n");
    }
    va_start(values, format);
    printf("%s: FAILED: ", fuzz_target.name);
    vprintf(format, values);
    va_end(values);
    putchar('\n');
    fflush(stdout);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input = data;
    input_size = size;
    fuzz_kit = kit_wanted;
    for (uint32_t i = 0; kit_wanted == FUZZ_KITS && i < fuzz_target.head && i < size; i++)
        fuzz_kit += data[i];
    fuzz_kit %= FUZZ_KITS;
    draw_head(data, size);
    fuzz_target.run(data, size);
    forget();
    return 0;
}

#ifndef FUZZ_ENGINE

#include "../agree/describe.h"

#include <dirent.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *doing = "?"; /* for whoever finds out in the middle of it */

/* A build with -fsanitize-coverage=trace-pc comes here at each edge of the rest of the program. */
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
    fuzz_steps++;
}

/* Of a sanitizer, if there is one. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

static void on_death(void)
{
    fprintf(stderr, "%s: while doing %s\n", fuzz_target.name, doing);
}

/* Runs an input in an allocation of its own; false if it fails, of which nothing is told. */
static bool try(const uint8_t *data, size_t size)
{
    uint8_t *volatile exact = malloc(size > 0 ? size : 1);
    if (exact == NULL)
        exit(2);
    memcpy(exact, data, size);
    trying = true;
    const bool failed = setjmp(try_failed) != 0;
    if (!failed)
        LLVMFuzzerTestOneInput(exact, size);
    trying = false;
    forget();
    free(exact);
    return !failed;
}

static uint8_t scratch[FUZZ_SIZE_MAX];

/* Whether the input, with `without` bytes at `at` left out, still fails; then it stays so. */
static bool fails_without(uint8_t *data, size_t *size, size_t at, size_t without)
{
    memcpy(scratch, data, at);
    memcpy(scratch + at, data + at + without, *size - at - without);
    if (try(scratch, *size - without))
        return false;
    *size -= without;
    memcpy(data, scratch, *size);
    return true;
}

/* Bytes of the piece at `at` that is left out or not: a record, a frame, a byte. */
static size_t piece(const uint8_t *data, size_t size, size_t at)
{
    struct fuzz_frame f;
    const uint8_t *next = data + at;
    switch (fuzz_target.shape) {
    case FUZZ_RECORDS: return size - at < fuzz_target.record ? size - at : fuzz_target.record;
    case FUZZ_PACKETS:
    case FUZZ_MESSAGES:
        return fuzz_frame_next(&next, data + size, &f) ? (size_t)(next - data) - at : size - at;
    default: return 1;
    }
}

/* Leaves out all that the failure does not need, and makes what is left plain. */
static void shrink(uint8_t *data, size_t *size)
{
    const size_t begin = fuzz_target.head < *size ? fuzz_target.head : *size;
    for (uint32_t pieces = 256; pieces > 0; pieces /= 2)
        for (size_t at = begin; at < *size;) {
            size_t end = at;
            for (uint32_t i = 0; i < pieces && end < *size; i++)
                end += piece(data, *size, end);
            if (!fails_without(data, size, at, end - at))
                at += piece(data, *size, at);
        }
    for (size_t at = 0; at < *size && at < 4096; at++) {
        const uint8_t was = data[at];
        data[at] = 0;
        if (was != 0 && try(data, *size))
            data[at] = was;
    }
}

static void write_file(const char *path, const uint8_t *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size)
        perror(path);
    if (file != NULL)
        fclose(file);
}

/* The failure once more, aloud; aborts. */
static void tell_failure(const uint8_t *data, size_t size)
{
    LLVMFuzzerTestOneInput(data, size);
    printf("%s: it did not happen again\n", fuzz_target.name);
}

/* ---- packets, for people: in words and in a capture (link type 101, raw IP) ---- */

static bool all_packets;
static FILE *capture;

static void put_words(const uint32_t *words, size_t count)
{
    if (fwrite(words, sizeof *words, count, capture) != count)
        perror("capture");
}

static void watch(uint64_t now_ms, const uint8_t *data, uint32_t size)
{
    char words[800];
    if (all_packets) {
        describe(data, size, words, sizeof words);
        printf("%16" PRIu64 " ms  %s\n", now_ms, words);
    }
    if (capture != NULL) {
        put_words((const uint32_t[]){(uint32_t)(now_ms / 1000), (uint32_t)(now_ms % 1000) * 1000, size, size}, 4);
        if (fwrite(data, 1, size, capture) != size || fflush(capture) != 0)
            perror("capture");
    }
}

static void capture_begin(const char *path)
{
    capture = fopen(path, "wb");
    if (capture == NULL) {
        perror(path);
        exit(2);
    }
    put_words((const uint32_t[]){0xa1b2c3d4, 4 << 16 | 2, 0, 0, 65535, 101}, 6);
}

static struct {
    uint64_t runs, failed;
    uint64_t digest;
    const char *keep;
    bool tell, digests, no_shrink, kits;
} all = {.keep = "failed.bin"};

static void run_file(const char *path)
{
    static uint8_t data[FUZZ_SIZE_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    const size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    doing = path;
    fuzz_digest = 0;
    if (all.tell) {
        fuzz_telling = true;
        uint8_t *exact = malloc(size > 0 ? size : 1);
        memcpy(exact, data, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    } else {
        /* 0, 5, 10, 15 have every back end once; then the pair that the input names. */
        for (kit_wanted = all.kits ? 0 : FUZZ_KITS; kit_wanted <= FUZZ_KITS; kit_wanted += kit_wanted == 15 ? 1 : 5) {
            fuzz_digest = 0;
            bool good = try(data, size);
            if (good && kit_wanted == FUZZ_KITS) { /* and again: nothing but the input may count */
                const uint64_t once = fuzz_digest;
                fuzz_digest = 0;
                good = try(data, size) && fuzz_digest == once;
            }
            if (good)
                continue;
            printf("%s: FAILED: %s, back ends %u\n", fuzz_target.name, path, kit_wanted);
            fflush(stdout);
            if (all.failed++ == 0 && !all.no_shrink)
                tell_failure(data, size);
            break;
        }
        kit_wanted = FUZZ_KITS;
    }
    if (all.digests)
        printf("%016" PRIx64 "  %s\n", fuzz_digest, path);
    all.digest = (all.digest ^ fuzz_digest) * UINT64_C(0x9e3779b97f4a7c15);
    all.runs++;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A file, or all that a folder holds, by name. */
static void for_path(const char *path, void (*do_file)(const char *path))
{
    struct stat status;
    if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode)) {
        do_file(path);
        return;
    }
    DIR *folder = opendir(path);
    char **names = NULL;
    size_t count = 0;
    for (struct dirent *one; folder != NULL && (one = readdir(folder)) != NULL;)
        if (one->d_name[0] != '.') {
            names = realloc(names, (count + 1) * sizeof *names);
            if (names == NULL || asprintf(&names[count++], "%s/%s", path, one->d_name) < 0)
                exit(2);
        }
    if (folder != NULL)
        closedir(folder);
    if (count > 0)
        qsort(names, count, sizeof *names, by_name);
    for (size_t i = 0; i < count; i++) {
        for_path(names[i], do_file);
        free(names[i]);
    }
    free(names);
}

/* ---- how fast: the same files over and over ---- */

enum { HELD_MAX = 4096 };
static struct {
    uint8_t *data;
    size_t size;
} held[HELD_MAX];
static uint32_t held_count;

static void hold(const char *path)
{
    static uint8_t data[FUZZ_SIZE_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL || held_count == HELD_MAX)
        return;
    held[held_count].size = fread(data, 1, sizeof data, file);
    fclose(file);
    held[held_count].data = malloc(held[held_count].size + 1);
    memcpy(held[held_count].data, data, held[held_count].size);
    held_count++;
}

/* Of this process alone: others may want the machine, too. */
static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run_again(double seconds)
{
    const double begin = now_s();
    uint64_t runs = 0;
    while (held_count > 0 && now_s() - begin < seconds)
        for (uint32_t i = 0; i < held_count; i++, runs++)
            LLVMFuzzerTestOneInput(held[i].data, held[i].size);
    printf("%s: %" PRIu64 " executions of %u files, %.0f a second\n", fuzz_target.name, runs, held_count,
           (double)runs / (now_s() - begin));
    for (uint32_t i = 0; i < held_count; i++)
        free(held[i].data);
}

/* Without a sanitizer nobody else says which input it was, and what does not end never comes back. */
static void on_signal(int number)
{
    on_death();
    if (strncmp(doing, "--seed", 6) == 0)
        write_file(all.keep, input, input_size);
    signal(number, SIG_DFL);
    raise(number);
}

static void watch_signals(void)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0] && __sanitizer_set_death_callback == NULL; i++)
        signal(fatal[i], on_signal);
}

enum { RUNS_A_WATCH = 64, WATCH_S = 300 };

/* So many inputs made from a seed; the first that fails is shrunk, written down, and told. */
static void run_seed(uint64_t seed, uint64_t runs, double seconds)
{
    static uint8_t data[FUZZ_SIZE_MAX];
    static char words[64];
    const double begin = now_s();
    doing = words;
    for (uint64_t number = 0; number < runs; number++) {
        uint64_t state = seed * UINT64_C(0x100000001b3) + number;
        snprintf(words, sizeof words, "--seed %" PRIu64 ", run %" PRIu64, seed, number);
        size_t size = mutate_make(data, sizeof data, &state);
        if (number % RUNS_A_WATCH == 0)
            alarm(WATCH_S);
        if (seconds > 0 && now_s() - begin > seconds)
            break;
        all.runs++;
        fuzz_digest = 0;
        if (!try(data, size)) {
            printf("%s: FAILED: %s\n", fuzz_target.name, words);
            fflush(stdout);
            if (!all.no_shrink)
                shrink(data, &size);
            write_file(all.keep, data, size);
            printf("%s: shrunk to %zu bytes: %s\n", fuzz_target.name, size, all.keep);
            all.failed++;
            doing = all.keep;
            tell_failure(data, size);
            return;
        }
        all.digest = (all.digest ^ fuzz_digest) * UINT64_C(0x9e3779b97f4a7c15);
    }
    alarm(0);
}

static const char usage[] =
    "usage: TARGET [OPTION]... [FILE|FOLDER]...\n"
    "Runs the inputs in files, or those that a seed makes.\n"
    "  --seed N, --runs N   which, and how many (1, 1000 if there are no files)\n"
    "  --seconds N          no longer than that\n"
    "  --keep FILE          where one that fails goes, shrunk (failed.bin)\n"
    "  --shrink FILE        makes a failing file as small as can be, in place\n"
    "  --no-shrink          tells which fail and goes on\n"
    "  --kits               the files also with four pairs that have every back end once\n"
    "  --tell               every step of the files in words\n"
    "  --packets            every packet of the files in words\n"
    "  --pcap FILE          and as a capture\n"
    "  --digest             what each file came to, as a number that is the same everywhere\n"
    "  --again              the files over and over, for --seconds: how fast\n"
    "  --oracles N          of track: 0: crashes alone; 1: and invariants; 2: and differences of batches; 3: all\n"
    "  --make FOLDER        writes the inputs that the seed makes instead of running them\n";

static void shrink_file(const char *path)
{
    static uint8_t data[FUZZ_SIZE_MAX];
    FILE *file = fopen(path, "rb");
    size_t size = file != NULL ? fread(data, 1, sizeof data, file) : 0;
    if (file != NULL)
        fclose(file);
    if (try(data, size)) {
        printf("%s: %s does not fail\n", fuzz_target.name, path);
        return;
    }
    shrink(data, &size);
    write_file(path, data, size);
    printf("%s: shrunk to %zu bytes: %s\n", fuzz_target.name, size, path);
}

static void make_files(const char *folder, uint64_t seed, uint64_t runs)
{
    static uint8_t data[FUZZ_SIZE_MAX];
    for (uint64_t number = 0; number < runs; number++) {
        uint64_t state = seed * UINT64_C(0x100000001b3) + number;
        char path[4096];
        const size_t size = mutate_make(data, sizeof data, &state);
        snprintf(path, sizeof path, "%s/made-%" PRIu64 "-%" PRIu64, folder, seed, number);
        write_file(path, data, size);
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, runs = 0;
    double seconds = 0;
    const char *make = NULL;
    bool files = false, again = false;
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(on_death);
    watch_signals();
    for (int i = 1; i < argc; i++) {
        const bool more = i + 1 < argc;
        if (strcmp(argv[i], "--seed") == 0 && more)
            seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--runs") == 0 && more)
            runs = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--seconds") == 0 && more)
            seconds = strtod(argv[++i], NULL), runs = runs != 0 ? runs : UINT64_MAX;
        else if (strcmp(argv[i], "--keep") == 0 && more)
            all.keep = argv[++i];
        else if (strcmp(argv[i], "--make") == 0 && more)
            make = argv[++i];
        else if (strcmp(argv[i], "--shrink") == 0 && more)
            shrink_file(argv[++i]), files = true;
        else if (strcmp(argv[i], "--kits") == 0)
            all.kits = true;
        else if (strcmp(argv[i], "--again") == 0)
            again = true;
        else if (strcmp(argv[i], "--no-shrink") == 0)
            all.no_shrink = true;
        else if (strcmp(argv[i], "--tell") == 0)
            all.tell = true;
        else if (strcmp(argv[i], "--packets") == 0)
            all_packets = true, fuzz_watch = watch;
        else if (strcmp(argv[i], "--pcap") == 0 && more)
            capture_begin(argv[++i]), fuzz_watch = watch;
        else if (strcmp(argv[i], "--oracles") == 0 && more)
            fuzz_oracles = (enum fuzz_oracles)strtoul(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--digest") == 0)
            all.digests = true;
        else if (argv[i][0] == '-') {
            fputs(usage, stderr);
            return 2;
        } else {
            for_path(argv[i], again ? hold : run_file);
            files = true;
        }
    }
    if (again) {
        run_again(seconds);
        return 0;
    }
    if (make != NULL) {
        make_files(make, seed, runs);
        return 0;
    }
    if (runs > 0 || !files)
        run_seed(seed, runs > 0 ? runs : 1000, seconds);
    printf("%s: %" PRIu64 " inputs, %" PRIu64 " failed, digest %016" PRIx64 "\n", fuzz_target.name, all.runs, all.failed,
           all.digest);
    return all.failed > 0;
}

#endif

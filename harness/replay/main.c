/* SPDX-License-Identifier: MIT */
/* main.c - the command `keepstate`: finds the subcommand, hands the arguments over, and looks at
 * the end whether all that was printed got out. Knows nothing of packets. */
#define _GNU_SOURCE 1
#include "command.h"
#include "keepstate.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"replay", replay_main, "track a capture (pcap, pcapng) and print the connection table"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

void complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout); /* what was printed before shall be read before */
    fputs("keepstate: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static int help(void)
{
    puts("keepstate - connection tracking as Linux does it\n\n"
         "usage: keepstate COMMAND [OPTION]... [ARGUMENT]...\n");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].what);
    puts("\n`keepstate COMMAND --help` tells more. `keepstate --version` tells the version.");
    return COMMAND_DONE;
}

static int version(void)
{
    puts("keepstate " KST_VERSION);
    return COMMAND_DONE;
}

static int run(int argc, char **argv)
{
    static char name[] = "keepstate"; /* what getopt calls us */
    const char *first = argc > 1 ? argv[1] : "";
    if (strcmp(first, "-h") == 0 || strcmp(first, "--help") == 0)
        return help();
    if (strcmp(first, "-V") == 0 || strcmp(first, "--version") == 0)
        return version();
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(first, commands[i].name) == 0) {
            argv[1] = name;
            return commands[i].main(argc - 1, argv + 1);
        }
    }
    if (argc > 1)
        complain("no command is named '%s'; try 'keepstate --help'", first);
    else
        complain("which command? Try 'keepstate --help'");
    return COMMAND_USAGE;
}

/* A full disk may show only when the last buffer is written, or the file closed. */
static int finish(int code)
{
    const bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fclose(stdout) != 0 || failed) {
        complain("standard output: %s", errno != 0 ? strerror(errno) : "it could not be written");
        return COMMAND_INPUT;
    }
    return code;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_DFL); /* `| head` ends us quietly, whatever our parent made of the signal */
    return finish(run(argc, argv));
}

/* SPDX-License-Identifier: MIT */
/* command.h - what the subcommands share: how they are called, how they end, how they complain. */
#ifndef KEEPSTATE_COMMAND_H
#define KEEPSTATE_COMMAND_H

enum { /* exit codes */
    COMMAND_DONE = 0,
    COMMAND_INPUT = 1, /* the input is bad, or the output cannot be written */
    COMMAND_USAGE = 2  /* the command line is */
};

/* One line on stderr, "keepstate: " before it. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
void complain(const char *format, ...);

/* Subcommands: argv[0] is for getopt, options and operands follow. They return the exit code. */
int replay_main(int argc, char **argv);

#endif

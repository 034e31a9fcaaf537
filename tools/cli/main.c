/* SPDX-License-Identifier: Apache-2.0 */
/* The program `moesaic`: finds the verb and runs it. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct verb *const verbs[] = {&verb_run,    &verb_chat,     &verb_tokenize, &verb_template,
                                           &verb_logits, &verb_eval,     &verb_inspect,  &verb_trace,
                                           &verb_export, &verb_compress, &verb_compare, &verb_advise,
                                           &verb_bench,    &verb_topology, &verb_place};
enum { VERBS = sizeof verbs / sizeof *verbs };

static void interrupt(int signal) {
    (void)signal;
    cli_interrupted = 1;
}

static void signals_install(void) {
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN; /* a closed pipe is a write error with a message */
    sigaction(SIGPIPE, &action, NULL);
}

static int help(void) {
    puts("usage: moesaic VERB [MODEL] [OPTIONS]\n\nServes and compresses Mixture-of-Experts models on CPUs.\n");
    for (size_t i = 0; i < VERBS; i++)
        printf("  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    puts("\nMODEL is a Hugging Face checkpoint folder or a packed .moe artifact.\n"
         "'moesaic VERB --help' lists a verb's options; 'moesaic --version' says what this build is.");
    return cli_flush();
}

static void log_print(void *user, int level, const char *line) {
    (void)user;
    if (level <= (cli_common.verbose ? 3 : cli_common.quiet ? 0 : 1))
        fprintf(stderr, "moesaic: %s%s\n", level == 1 ? "warning: " : "", line);
}

int main(int argc, char **argv) {
    if (argc < 2)
        return cli_usage("no verb given ('moesaic --help' lists them)");
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
        return help();
    if (!strcmp(argv[1], "--version")) {
        puts(moesaic_build_info());
        return cli_flush();
    }
    const struct verb *verb = NULL;
    for (size_t i = 0; i < VERBS; i++)
        if (!strcmp(argv[1], verbs[i]->name))
            verb = verbs[i];
    if (!verb)
        return cli_usage("%s: no such verb ('moesaic --help' lists them)", argv[1]);
    signals_install();
    moesaic_log_set(log_print, NULL);
    const char **positional = calloc((size_t)argc, sizeof *positional);
    if (!positional)
        return EXIT_FAILED;
    int count = 0, status = cli_parse(verb, argc - 2, argv + 2, &count, positional);
    if (status < 0)
        status = verb->run(count, positional);
    free(positional);
    return status;
}

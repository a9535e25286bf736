/* keep_loaded.c: linked into what the sanitizers run. Open MPI unloads its plug-ins at the end, and a leak or race
 * in an unloaded one has no name left that a suppression could match; here nothing is ever unloaded. */
int dlclose(void *handle);
int dlclose(void *handle) {
    (void)handle;
    return 0;
}

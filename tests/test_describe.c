/* Descriptions of files: every dataset behind hard links is there once a link, with its shape and storage in words;
 * what leads elsewhere is not followed. */
#include "data/describe.h"

#include "data_files.h"

static void add(hid_t file, const char *path, hid_t type, hid_t space, hid_t properties) {
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    hid_t set = H5Dcreate2(file, path, type, space, links, properties, H5P_DEFAULT);
    CHECK(set >= 0);
    H5Dclose(set);
    H5Pclose(links);
}

static void write_file(void) {
    const hsize_t dim[] = {100, 3, 4}, chunk[] = {10, 3, 4}, huge[] = {1ull << 40, 1ull << 30};
    hid_t file = file_create("all.h5"), space = H5Screate_simple(3, dim, NULL), wide = H5Screate_simple(2, huge, NULL);
    hid_t scalar = H5Screate(H5S_SCALAR), none = H5Screate(H5S_NULL), p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_alloc_time(p, H5D_ALLOC_TIME_EARLY);
    add(file, "/a/plain", H5T_IEEE_F32LE, space, p);
    add(file, "/a/huge", H5T_IEEE_F64LE, wide, H5P_DEFAULT);
    add(file, "/none", H5T_IEEE_F32LE, none, H5P_DEFAULT);
    H5Pset_layout(p, H5D_COMPACT);
    add(file, "/scalar", H5T_STD_I64LE, scalar, p);
    H5Pset_chunk(p, 3, chunk);
    H5Pset_fletcher32(p);
    H5Pset_shuffle(p);
    H5Pset_deflate(p, 7);
    H5Pset_nbit(p);
    add(file, "/b/c/chunks", H5T_STD_I16BE, space, p);
    H5Pclose(p);
    p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(p, "absent.raw", 0, 4800);
    add(file, "/elsewhere", H5T_IEEE_F32LE, space, p);
    H5Pclose(p);
    p = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_virtual(p, space, "absent.h5", "x", space);
    add(file, "/virtual", H5T_IEEE_F32LE, space, p);
    H5Pclose(p);
    H5Lcreate_hard(file, "/a/plain", file, "/twice", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_hard(file, "/a", file, "/a/ring", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/a/plain", file, "/soft", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external("absent.h5", "/x", file, "/external", H5P_DEFAULT, H5P_DEFAULT);
    H5Sclose(space);
    H5Sclose(wide);
    H5Sclose(scalar);
    H5Sclose(none);
    H5Fclose(file);
}

static void everything(void) {
    static const struct {
        const char *path, *shape, *storage;
        uint64_t stored, declared;
    } want[] = {{"/a/huge", "[1099511627776,1073741824]", "contiguous", 0, UINT64_MAX},
                {"/a/plain", "[100,3,4]", "contiguous", 4800, 4800},
                {"/b/c/chunks", "[100,3,4]", "chunks [10,3,4], fletcher32, shuffle, deflate 7, filter 5 nbit", 0, 2400},
                {"/elsewhere", "[100,3,4]", "in other files", 4800, 4800},
                {"/none", "none", "contiguous", 0, 0},
                {"/scalar", "[]", "compact", 8, 8},
                {"/twice", "[100,3,4]", "contiguous", 4800, 4800},
                {"/virtual", "[100,3,4]", "in other datasets (virtual)", 0, 4800}};
    const int64_t wanted = sizeof want / sizeof *want;
    dpt_description *all;
    int64_t count;
    write_file();
    if (!CHECK_OK(dpt_describe(file_path("all.h5"), &all, &count))) return;
    CHECK_EQ_I64(count, wanted);
    for (int64_t i = 0; i < count && i < wanted; i++) {
        CHECK_EQ_TEXT(all[i].path, want[i].path);
        CHECK_EQ_TEXT(all[i].shape, want[i].shape);
        CHECK_EQ_TEXT(all[i].storage, want[i].storage);
        CHECK(all[i].stored_bytes == want[i].stored || strcmp(want[i].path, "/b/c/chunks") == 0);
        CHECK(all[i].declared_bytes == want[i].declared);
    }
    dpt_describe_free(all, count);
    check_nothing_open();
}

/* The class of a dataset's type becomes one that HDF5 does not know. Headers of version 1 are 16 bytes, then messages:
 * type and size of 2 bytes each, 4 bytes more, the content. */
static void damage_type(const char *name, haddr_t address) {
    enum { TYPE_MESSAGE = 3 };
    unsigned char b[9];
    FILE *f = fopen(name, "r+");
    long at = (long)address + 16;
    do {
        fseek(f, at, SEEK_SET);
        if (!CHECK(fread(b, 1, sizeof b, f) == sizeof b)) break;
        at += 8 + (b[2] | b[3] << 8);
    } while ((b[0] | b[1] << 8) != TYPE_MESSAGE);
    fseek(f, -1, SEEK_CUR);
    fputc((b[8] & 0xf0) | 0xd, f);
    fclose(f);
}

/* What cannot be opened is not passed by. */
static void damaged(void) {
    dpt_description *all;
    int64_t count;
    const hsize_t rows = 5;
    hid_t file = file_create("damaged.h5"), space = H5Screate_simple(1, &rows, NULL);
    H5O_info_t about;
    add(file, "/a", H5T_STD_I32LE, space, H5P_DEFAULT);
    add(file, "/b", H5T_STD_I32LE, space, H5P_DEFAULT);
    CHECK(H5Oget_info_by_name2(file, "/b", &about, H5O_INFO_BASIC, H5P_DEFAULT) >= 0);
    H5Sclose(space);
    H5Fclose(file);
    damage_type(file_path("damaged.h5"), about.addr);
    if (!CHECK_OK(dpt_describe(file_path("damaged.h5"), &all, &count))) return;
    if (CHECK_EQ_I64(count, 2)) {
        CHECK_EQ_TEXT(all[0].path, "/a");
        CHECK_EQ_I64(all[0].rows, 5);
        CHECK_EQ_TEXT(all[1].path, "/b");
        CHECK_EQ_I64(all[1].rows, -1);
    }
    dpt_describe_free(all, count);
    check_nothing_open();
}

static void no_files(void) {
    dpt_description *all;
    int64_t count;
    CHECK_FAILS(dpt_describe(file_path("absent.h5"), &all, &count), DPT_ERR_IO, "No such file");
    CHECK(all == NULL && count == 0);
    FILE *text = fopen(file_path("text.h5"), "w");
    fputs("not HDF5", text);
    fclose(text);
    CHECK_FAILS(dpt_describe(file_path("text.h5"), &all, &count), DPT_ERR_DATA, "not an HDF5 file");
    CHECK(all == NULL && count == 0);
    H5Fclose(file_create("empty.h5"));
    CHECK_OK(dpt_describe(file_path("empty.h5"), &all, &count));
    CHECK_EQ_I64(count, 0);
    dpt_describe_free(all, count);
    check_nothing_open();
}

int main(int argc, char **argv) {
    return CHECK_MAIN(argc, argv, "describe", {"everything", everything}, {"damaged", damaged}, {"no_files", no_files});
}

/* image_folder.h: what lies in a folder of images: files in sub-folders, one a class, or files alone. Classes are the
 * sub-folders' names sorted bytewise; all files below one, at any depth, are of its class, each folder's entries sorted
 * bytewise. Nothing is opened here. */
#ifndef DPT_DATA_IMAGE_FOLDER_H
#define DPT_DATA_IMAGE_FOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct dpt_image_file {
    char *name;       /* below the folder: "cat/1.png" */
    int32_t class_id; /* -1: in no sub-folder */
} dpt_image_file;

typedef struct dpt_image_folder {
    char *path;
    char **class_name;
    int64_t classes, class_room;
    dpt_image_file *file;
    int64_t files, file_room;
    int64_t hidden;    /* names that begin with a dot */
    int64_t other;     /* neither files nor folders: links to folders, devices */
    char *first_other; /* below the folder; NULL: none */
    uint64_t digest;   /* of the files' names, sizes and times: another one where one of them changed */
} dpt_image_folder;

/* Links to files are followed, those to folders are not. On failure nothing needs closing. Local.
 * DPT_ERR_IO: the folder or a class cannot be read (the system's reason). DPT_ERR_UNSUPPORTED: 2^31 classes, or
 * folders more than 64 deep. */
dpt_status dpt_image_folder_list(const char *path, dpt_image_folder *folder);
/* Counts one more that is left out. */
dpt_status dpt_image_folder_leave_out(dpt_image_folder *folder, const char *name);
/* The list of files as bytes, and a folder of the files of such a list, without names of classes. What dpt_free
 * releases. DPT_ERR_DATA: no such list. */
dpt_status dpt_image_folder_write(const dpt_image_folder *folder, char **bytes, int64_t *size);
dpt_status dpt_image_folder_read(const char *path, const char *bytes, int64_t size, dpt_image_folder *folder);
void dpt_image_folder_close(dpt_image_folder *folder);

#endif

/* import_images.c: a folder of PNG and JPEG files as a stream of images, or of their classes.
 *
 * Opening looks at every file: which are images, what size they are, with skip=yes also whether each can be decoded.
 * Reading decodes one at a time. Images and labels of one folder with the same skip= come in the same order because
 * both streams list, sort and choose with the same code; a change must keep it so. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/image.h"
#include "data/image_folder.h"
#include "data/import_stream.h"

enum {
    HEAD_BYTES = 1 << 16,     /* of a file, to see its kind and size */
    FILE_BYTES_MAX = 1 << 30, /* no image within the limits has more */
    CLASSES_SHOWN = 20
};

typedef struct image_options {
    bool labels, skip;
    int64_t height, width; /* 0: as they are */
} image_options;

typedef struct folder_state {
    image_options options;
    dpt_image_folder folder;
    int64_t at; /* the next file */
    dpt_image image;
    int channels; /* of all images, with the next two; 0: none seen yet */
    int64_t height, width;
    int64_t skipped;
    char *first_skipped; /* the message about it */
    char *name;          /* of the file at hand, for messages */
    uint8_t *bytes;      /* its content */
    size_t size, room;
    bool whole;  /* not only its head */
    char *notes; /* channels, height, width, and the list of files */
    int64_t notes_bytes;
} folder_state;

/* "64x32": two whole numbers of 1 to DPT_IMAGE_MAX_SIDE. */
static bool parse_size(const char *text, image_options *options) {
    int end = 0;
    long long height, width;
    if (sscanf(text, "%6lldx%6lld%n", &height, &width, &end) != 2 || text[end] != 0) return false;
    options->height = height;
    options->width = width;
    return height >= 1 && width >= 1 && height <= DPT_IMAGE_MAX_SIDE && width <= DPT_IMAGE_MAX_SIDE &&
           height * width <= DPT_IMAGE_MAX_PIXELS;
}

static dpt_status parse_option(const char *file, const char *word, image_options *options) {
    if (strcmp(word, "skip=yes") == 0) {
        options->skip = true;
        return DPT_OK;
    }
    if (strncmp(word, "size=", 5) == 0 && parse_size(word + 5, options)) return DPT_OK;
    return dpt_error(DPT_ERR_CONFIG, "%s: \"%s\" is no option of images: size=HEIGHTxWIDTH (1 to %d), skip=yes", file,
                     word, DPT_IMAGE_MAX_SIDE);
}

/* "images:size=64x64,skip=yes" */
static dpt_status parse_part(const char *file, char *part, image_options *options) {
    char *rest = part, *kind = strsep(&rest, ":");
    options->labels = strcmp(kind, "labels") == 0;
    DPT_CHECK(options->labels || strcmp(kind, "images") == 0, DPT_ERR_CONFIG,
              "%s: \"%s\" is no part of a folder of images: images or labels", file, kind);
    while (rest != NULL) DPT_TRY(parse_option(file, strsep(&rest, ","), options));
    return DPT_OK;
}

static dpt_status read_bytes(folder_state *s, int file, size_t size) {
    if (size > s->room) {
        dpt_free(s->bytes);
        s->room = 0;
        s->bytes = dpt_alloc(size);
        DPT_CHECK_ALLOC(s->bytes);
        s->room = size;
    }
    s->size = 0;
    while (s->size < size) {
        ssize_t n = read(file, s->bytes + s->size, size - s->size);
        if (n < 0 && errno == EINTR) continue;
        DPT_CHECK(n >= 0, DPT_ERR_IO, "%s: %s", s->name, strerror(errno));
        if (n == 0) break; /* shorter than it was: the decoder says so */
        s->size += (size_t)n;
    }
    return DPT_OK;
}

static dpt_status read_file(folder_state *s, int file, size_t most) {
    struct stat about;
    DPT_CHECK(fstat(file, &about) == 0, DPT_ERR_IO, "%s: %s", s->name, strerror(errno));
    DPT_CHECK(S_ISREG(about.st_mode), DPT_ERR_IO, "%s: no longer a file", s->name);
    s->whole = (uint64_t)about.st_size <= most;
    DPT_CHECK(!s->whole || about.st_size <= FILE_BYTES_MAX, DPT_ERR_UNSUPPORTED,
              "%s: %lld bytes; image files of at most %d are read", s->name, (long long)about.st_size, FILE_BYTES_MAX);
    return read_bytes(s, file, s->whole ? (size_t)about.st_size : most);
}

/* A line end in a file's name must not break a message's line. */
static void hide_control(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127) *text = '?';
}

/* Reads a file, or only its first bytes. */
static dpt_status load(folder_state *s, const dpt_image_file *file, size_t most) {
    dpt_free(s->name);
    s->name = dpt_format("%s/%s", s->folder.path, file->name);
    DPT_CHECK_ALLOC(s->name);
    int handle = open(s->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const int reason = errno;
    hide_control(s->name);
    DPT_CHECK(handle >= 0, DPT_ERR_IO, "%s: %s", s->name, strerror(reason));
    dpt_status status = read_file(s, handle, most);
    close(handle);
    return status;
}

static bool is_named_image(const char *name) {
    static const char *const end[] = {".png", ".jpg", ".jpeg"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof end / sizeof *end; i++)
        if (strcasecmp(dot, end[i]) == 0) return true;
    return false;
}

/* All images are one array, so they agree in what size= does not make equal. */
static dpt_status check_shape(folder_state *s) {
    const dpt_image *image = &s->image;
    const bool resized = s->options.height > 0;
    if (s->channels == 0) {
        s->channels = image->channels;
        s->height = resized ? s->options.height : image->height;
        s->width = resized ? s->options.width : image->width;
    }
    DPT_CHECK(image->channels == s->channels, DPT_ERR_DATA,
              "%s: %s, but the images before it are %s: convert one kind into the other", s->name,
              image->channels == 1 ? "gray" : "RGB", s->channels == 1 ? "gray" : "RGB");
    DPT_CHECK(
        resized || (image->height == s->height && image->width == s->width), DPT_ERR_DATA,
        "%s: %lld x %lld pixels (height x width), but the images before it are %lld x %lld; images:size=%lldx%lld "
        "makes all of them so",
        s->name, (long long)image->height, (long long)image->width, (long long)s->height, (long long)s->width,
        (long long)s->height, (long long)s->width);
    return DPT_OK;
}

static dpt_status measure(folder_state *s, const dpt_image_file *file) {
    dpt_status status = dpt_image_measure(s->name, s->bytes, s->size, &s->image);
    if (status != DPT_ERR_DATA || s->whole) return status;
    DPT_TRY(load(s, file, SIZE_MAX)); /* other things stand before the size */
    return dpt_image_measure(s->name, s->bytes, s->size, &s->image);
}

static dpt_status skip_file(folder_state *s) {
    if (s->skipped++ > 0) return DPT_OK;
    s->first_skipped = dpt_strdup(dpt_last_error());
    DPT_CHECK_ALLOC(s->first_skipped);
    return DPT_OK;
}

/* Whether a file is one of the stream's. */
static dpt_status choose_file(folder_state *s, const dpt_image_file *file, bool *chosen) {
    *chosen = false;
    DPT_TRY(load(s, file, s->options.skip ? SIZE_MAX : HEAD_BYTES));
    if (!dpt_image_is(s->bytes, s->size) && !is_named_image(file->name))
        return dpt_image_folder_leave_out(&s->folder, file->name);
    DPT_CHECK(file->class_id >= 0 || s->folder.classes == 0, DPT_ERR_DATA,
              "%s: an image beside the folders of classes; move it into one of them", s->name);
    dpt_status status = DPT_OK;
    if (s->options.skip)
        status = dpt_image_decode(s->name, s->bytes, s->size, &s->image);
    else if (!s->options.labels)
        status = measure(s, file);
    if (status == DPT_ERR_DATA && s->options.skip) return skip_file(s);
    DPT_TRY(status);
    *chosen = true;
    return s->options.labels ? DPT_OK : check_shape(s);
}

/* Leaves the stream's files in the list. */
static dpt_status choose_files(folder_state *s) {
    dpt_image_folder *folder = &s->folder;
    const int64_t files = folder->files;
    int64_t kept = 0;
    dpt_status status = DPT_OK;
    for (int64_t i = 0; i < files; i++) {
        bool chosen = true;
        if (status == DPT_OK) status = choose_file(s, &folder->file[i], &chosen);
        if (chosen || status != DPT_OK)
            folder->file[kept++] = folder->file[i];
        else
            dpt_free(folder->file[i].name);
    }
    folder->files = kept;
    DPT_TRY(status);
    DPT_CHECK(kept > 0, DPT_ERR_DATA,
              "%s: no %simages: PNG or JPEG files are looked for in it or in its folders, one a class", folder->path,
              s->skipped > 0 ? "unbroken " : "");
    return DPT_OK;
}

static void say_classes(const dpt_image_folder *folder) {
    char text[1500];
    size_t length = 0;
    text[0] = 0;
    for (int64_t i = 0; i < folder->classes && i < CLASSES_SHOWN; i++)
        length = dpt_append(text, sizeof text, length, "%s%lld %s", i ? ", " : "", (long long)i, folder->class_name[i]);
    hide_control(text);
    dpt_log(DPT_LOG_INFO, "%s: %lld classes: %s%s", folder->path, (long long)folder->classes, text,
            folder->classes > CLASSES_SHOWN ? ", ..." : "");
}

/* Files are sorted by class: a class without any shows as a gap. */
static void say_empty_classes(const dpt_image_folder *folder) {
    int64_t empty = 0, first = -1, file = 0;
    for (int64_t i = 0; i < folder->classes; i++) {
        const bool some = file < folder->files && folder->file[file].class_id == i;
        while (file < folder->files && folder->file[file].class_id == i) file++;
        if (some) continue;
        if (empty++ == 0) first = i;
    }
    if (empty == 0) return;
    char name[256];
    snprintf(name, sizeof name, "%s", folder->class_name[first]);
    hide_control(name);
    dpt_log(DPT_LOG_WARNING, "%s: %lld of %lld classes without an image, the first: %lld, %s", folder->path,
            (long long)empty, (long long)folder->classes, (long long)first, name);
}

/* The images say what is left out, the labels what the classes are, so that importing both says it once. */
static void say_what_was_found(const folder_state *s) {
    const dpt_image_folder *folder = &s->folder;
    if (s->options.labels) {
        say_classes(folder);
        return;
    }
    say_empty_classes(folder);
    if (folder->first_other) hide_control(folder->first_other);
    if (s->skipped > 0)
        dpt_log(DPT_LOG_WARNING, "%s: %lld broken images skipped, the first: %s", folder->path, (long long)s->skipped,
                s->first_skipped);
    if (folder->other > 0)
        dpt_log(DPT_LOG_WARNING, "%s: %lld files or folders left out that are no images, the first: %s", folder->path,
                (long long)folder->other, folder->first_other);
    if (folder->hidden > 0)
        dpt_log(DPT_LOG_INFO, "%s: %lld hidden files or folders left out", folder->path, (long long)folder->hidden);
}

static int64_t rows_left(const folder_state *s, int64_t rows) {
    return s->folder.files - s->at < rows ? s->folder.files - s->at : rows;
}

static dpt_status read_images(dpt_import_stream *stream, int64_t rows, void *out, int64_t *got) {
    folder_state *s = stream->state;
    uint8_t *to = out;
    *got = 0;
    for (int64_t n = rows_left(s, rows); *got < n; ++*got, s->at++, to += stream->row_bytes) {
        DPT_TRY(load(s, &s->folder.file[s->at], SIZE_MAX));
        DPT_TRY(dpt_image_decode(s->name, s->bytes, s->size, &s->image));
        DPT_TRY(check_shape(s));
        DPT_TRY(dpt_image_resize(&s->image, s->height, s->width, to));
    }
    return DPT_OK;
}

static dpt_status read_labels(dpt_import_stream *stream, int64_t rows, void *out, int64_t *got) {
    folder_state *s = stream->state;
    int32_t *to = out;
    *got = rows_left(s, rows);
    for (int64_t i = 0; i < *got; i++) to[i] = s->folder.file[s->at++].class_id;
    return DPT_OK;
}

static dpt_status seek_row(dpt_import_stream *stream, int64_t row) {
    ((folder_state *)stream->state)->at = row;
    return DPT_OK;
}

static void close_state(folder_state *s) {
    dpt_image_folder_close(&s->folder);
    dpt_image_close(&s->image);
    dpt_free(s->first_skipped);
    dpt_free(s->name);
    dpt_free(s->bytes);
    dpt_free(s->notes);
    dpt_free(s);
}

static void close_stream(dpt_import_stream *stream) {
    close_state(stream->state);
    *stream = (dpt_import_stream){0};
}

static dpt_status read_part(folder_state *s, const dpt_import_source *source) {
    char *part = dpt_strdup(source->part ? source->part : "images");
    DPT_CHECK_ALLOC(part);
    dpt_status status = parse_part(source->file, part, &s->options);
    dpt_free(part);
    return status;
}

enum { SHAPE_WORDS = 3, SHAPE_BYTES = SHAPE_WORDS * sizeof(int64_t) };

static dpt_status make_notes(folder_state *s) {
    const int64_t shape[SHAPE_WORDS] = {s->channels, s->height, s->width};
    char *list;
    int64_t bytes;
    DPT_TRY(dpt_image_folder_write(&s->folder, &list, &bytes));
    s->notes_bytes = SHAPE_BYTES + bytes;
    s->notes = dpt_alloc((size_t)s->notes_bytes);
    if (s->notes) {
        memcpy(s->notes, shape, SHAPE_BYTES);
        memcpy(s->notes + SHAPE_BYTES, list, (size_t)bytes);
    }
    dpt_free(list);
    return s->notes ? DPT_OK : DPT_ERR_MEMORY;
}

static dpt_status find_images(folder_state *s, const dpt_import_source *source) {
    DPT_TRY(read_part(s, source));
    DPT_TRY(dpt_image_folder_list(source->file, &s->folder));
    DPT_CHECK(!s->options.labels || s->folder.classes > 0, DPT_ERR_CONFIG,
              "%s: no labels: they are the numbers of its sub-folders, and it has none", source->file);
    DPT_TRY(choose_files(s));
    say_what_was_found(s);
    return make_notes(s);
}

/* The shape of labels is unknown, that is 0. */
static dpt_status take_notes(folder_state *s, const dpt_import_source *source, const char *notes, int64_t bytes) {
    int64_t shape[SHAPE_WORDS];
    DPT_TRY(read_part(s, source));
    DPT_CHECK(bytes > SHAPE_BYTES, DPT_ERR_DATA, "%s: notes of another format", source->file);
    memcpy(shape, notes, SHAPE_BYTES);
    s->channels = (int)shape[0];
    s->height = shape[1];
    s->width = shape[2];
    const bool image = (shape[0] == 1 || shape[0] == 3) && shape[1] > 0 && shape[1] <= DPT_IMAGE_MAX_SIDE &&
                       shape[2] > 0 && shape[2] <= DPT_IMAGE_MAX_SIDE;
    DPT_CHECK(image || s->options.labels, DPT_ERR_DATA, "%s: notes of another format", source->file);
    return dpt_image_folder_read(source->file, notes + SHAPE_BYTES, bytes - SHAPE_BYTES, &s->folder);
}

static void describe(folder_state *s, dpt_import_stream *stream) {
    const int64_t rows = s->folder.files;
    if (s->options.labels)
        *stream = (dpt_import_stream){.dtype = DPT_I32,
                                      .ndim = 1,
                                      .dim = {rows},
                                      .row_bytes = 4,
                                      .read = read_labels,
                                      .class_name = s->folder.class_name,
                                      .classes = s->folder.classes};
    else
        *stream = (dpt_import_stream){.dtype = DPT_U8,
                                      .ndim = 4,
                                      .dim = {rows, s->channels, s->height, s->width},
                                      .row_bytes = s->channels * s->height * s->width,
                                      .read = read_images};
    stream->seek = seek_row;
    stream->close = close_stream;
    stream->state = s;
    stream->notes = s->notes;
    stream->notes_bytes = s->notes_bytes;
}

/* notes NULL: all files are looked at. */
static dpt_status open_images(const dpt_import_source *source, const void *notes, int64_t bytes,
                              dpt_import_stream *stream) {
    folder_state *s = dpt_alloc_zero(1, sizeof *s);
    DPT_CHECK_ALLOC(s);
    dpt_status status = notes ? take_notes(s, source, notes, bytes) : find_images(s, source);
    if (status == DPT_OK)
        describe(s, stream);
    else
        close_state(s);
    return status;
}

dpt_status dpt_import_open_images(const dpt_import_source *source, dpt_import_stream *stream) {
    return open_images(source, NULL, 0, stream);
}

dpt_status dpt_import_reopen_images(const dpt_import_source *source, const void *notes, int64_t bytes,
                                    dpt_import_stream *stream) {
    return open_images(source, notes, bytes, stream);
}

/* SPDX-License-Identifier: MIT */
/*
 * An Arrow IPC file (also known as Feather version 2), one table a file: for pandas, polars, DuckDB, R and everything
 * else that reads Arrow, without parsing.  https://arrow.apache.org/docs/format/Columnar.html
 *
 *     "ARROW1" 0 0
 *     message: the schema         ff ff ff ff, i32 size, a FlatBuffer of that size; then its body
 *     message: a batch of rows    body: for each column validity bits, then numbers, or i32 ends and text
 *     ...
 *     ff ff ff ff 0 0 0 0
 *     footer: a FlatBuffer with the schema again and where each batch is; its size as i32; "ARROW1"
 *
 * Numbers are int64, texts utf8, both may be null.  Each buffer begins at a multiple of 8.  What must be known before
 * a number is trusted is in the schema's metadata.
 */
#include <string.h>

#include "export_table.h"
#include "flatbuffer.h"
#include "memory.h"

enum { BATCH_ROWS_MAX = 8192, BATCH_TEXT_MAX = 1 << 26, BUFFERS_MAX = 3 * TABLE_COLUMNS_MAX };

/* Numbers of Message.fbs, Schema.fbs and File.fbs. */
enum { VERSION_5 = 4 };
enum { HEADER_SCHEMA = 1, HEADER_RECORD_BATCH = 3 };
enum { TYPE_INT = 2, TYPE_UTF8 = 5 };
enum { MESSAGE_VERSION, MESSAGE_HEADER_TYPE, MESSAGE_HEADER, MESSAGE_BODY_LENGTH, MESSAGE_FIELDS };
enum { SCHEMA_ENDIANNESS, SCHEMA_FIELD_LIST, SCHEMA_METADATA, SCHEMA_FIELDS };
enum { FIELD_NAME, FIELD_NULLABLE, FIELD_TYPE_TYPE, FIELD_TYPE, FIELD_DICTIONARY, FIELD_CHILDREN, FIELD_FIELDS };
enum { INT_BIT_WIDTH, INT_IS_SIGNED, INT_FIELDS };
enum { BATCH_LENGTH, BATCH_NODES, BATCH_BUFFERS, BATCH_FIELDS };
enum { FOOTER_VERSION, FOOTER_SCHEMA, FOOTER_DICTIONARIES, FOOTER_BATCHES, FOOTER_FIELDS };
enum { BLOCK_SIZE = 24, NODE_SIZE = 16, BUFFER_SIZE = 16 };

struct block { uint64_t offset, metadata_size, body_size; };

struct arrow {
	const struct export *export;
	const struct export_table *table;
	unsigned column_count;
	struct flat flat;
	uint64_t position;            /* in the file */
	struct block *blocks;
	size_t block_count, block_capacity;
	struct table_cell *cells;     /* a batch, row by row */
	size_t rows;
	struct { unsigned char *bytes; size_t size; } buffers[BUFFERS_MAX];   /* of a batch's body */
	unsigned buffer_count;
};

static void write_bytes(struct arrow *arrow, const void *bytes, size_t size)
{
	static const char zeros[8];
	const size_t padding = -size & 7;

	fwrite(bytes, 1, size, arrow->export->file);
	fwrite(zeros, 1, padding, arrow->export->file);
	arrow->position += size + padding;
}

static void put_type(struct flat *flat, size_t pointer, enum table_kind kind)
{
	static const uint8_t number[INT_FIELDS] = { [INT_BIT_WIDTH] = 4, [INT_IS_SIGNED] = 1 };
	size_t at[INT_FIELDS];

	if (kind == TABLE_TEXT) {
		flat_table(flat, pointer, NULL, 0, NULL);
		return;
	}
	flat_table(flat, pointer, number, INT_FIELDS, at);
	flat_put(flat, at[INT_BIT_WIDTH], 64, 4);
	flat_put(flat, at[INT_IS_SIGNED], 1, 1);
}

static void put_pair(struct flat *flat, size_t pointer, const char *key, const char *value)
{
	static const uint8_t sizes[] = { 4, 4 };
	size_t at[2];

	flat_table(flat, pointer, sizes, 2, at);
	flat_text(flat, at[0], key);
	flat_text(flat, at[1], value);
}

static void put_schema(struct arrow *arrow, size_t pointer)
{
	static const uint8_t sizes[SCHEMA_FIELDS] = { [SCHEMA_ENDIANNESS] = 2, [SCHEMA_FIELD_LIST] = 4,
		[SCHEMA_METADATA] = 4 };
	static const uint8_t field[FIELD_FIELDS] = { [FIELD_NAME] = 4, [FIELD_NULLABLE] = 1, [FIELD_TYPE_TYPE] = 1,
		[FIELD_TYPE] = 4, [FIELD_CHILDREN] = 4 };
	struct flat *flat = &arrow->flat;
	size_t at[SCHEMA_FIELDS], its[FIELD_FIELDS], list, warnings = 0;

	while (arrow->export->warnings[warnings])
		warnings++;
	flat_table(flat, pointer, sizes, SCHEMA_FIELDS, at);
	list = flat_vector(flat, at[SCHEMA_FIELD_LIST], arrow->column_count, 4);
	for (unsigned i = 0; i < arrow->column_count; i++) {
		const struct table_column *column = &arrow->table->columns[i];

		flat_table(flat, list + 4 * (size_t)i, field, FIELD_FIELDS, its);
		flat_put(flat, its[FIELD_NULLABLE], 1, 1);
		flat_put(flat, its[FIELD_TYPE_TYPE], column->kind == TABLE_TEXT ? TYPE_UTF8 : TYPE_INT, 1);
		flat_text(flat, its[FIELD_NAME], column->name);
		put_type(flat, its[FIELD_TYPE], column->kind);
		flat_vector(flat, its[FIELD_CHILDREN], 0, 4);
	}
	list = flat_vector(flat, at[SCHEMA_METADATA], 3 + warnings, 4);
	put_pair(flat, list, "writer", "sctmem " SCTMEM_VERSION);
	put_pair(flat, list + 4, "table", arrow->table->name);
	put_pair(flat, list + 8, "command", arrow->export->command);
	for (size_t i = 0; i < warnings; i++)
		put_pair(flat, list + 12 + 4 * i, "warning", arrow->export->warnings[i]);
}

/* Begins the FlatBuffer of a message; returns the position of the pointer to its header. */
static size_t begin_message(struct arrow *arrow, unsigned header_type, uint64_t body_size)
{
	static const uint8_t sizes[MESSAGE_FIELDS] = { [MESSAGE_VERSION] = 2, [MESSAGE_HEADER_TYPE] = 1,
		[MESSAGE_HEADER] = 4, [MESSAGE_BODY_LENGTH] = 8 };
	size_t at[MESSAGE_FIELDS];

	flat_begin(&arrow->flat);
	flat_table(&arrow->flat, 0, sizes, MESSAGE_FIELDS, at);
	flat_put(&arrow->flat, at[MESSAGE_VERSION], VERSION_5, 2);
	flat_put(&arrow->flat, at[MESSAGE_HEADER_TYPE], header_type, 1);
	flat_put(&arrow->flat, at[MESSAGE_BODY_LENGTH], body_size, 8);
	return at[MESSAGE_HEADER];
}

/* Writes the message's FlatBuffer; returns how many bytes it takes in the file. */
static uint64_t write_message(struct arrow *arrow)
{
	const uint64_t start = arrow->position, size = (arrow->flat.used + 7) & ~(uint64_t)7;
	unsigned char head[8] = { 0xff, 0xff, 0xff, 0xff };

	for (unsigned i = 0; i < 4; i++)
		head[4 + i] = (unsigned char)(size >> 8 * i);
	write_bytes(arrow, head, sizeof(head));
	write_bytes(arrow, arrow->flat.bytes, arrow->flat.used);
	return arrow->position - start;
}

/* Room for the next buffer of the body, zeroed. */
static unsigned char *take_buffer(struct arrow *arrow, size_t size)
{
	unsigned char *bytes = memory_new(size, 1);

	arrow->buffers[arrow->buffer_count].bytes = bytes;
	arrow->buffers[arrow->buffer_count++].size = size;
	return bytes;
}

static void put_little(unsigned char *to, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		to[i] = (unsigned char)(value >> 8 * i);
}

static const struct table_cell *cell_of(const struct arrow *arrow, size_t row, unsigned column)
{
	return &arrow->cells[row * arrow->column_count + column];
}

/* The buffers of one column; returns how many of its cells are null. */
static size_t make_buffers(struct arrow *arrow, unsigned column)
{
	const bool text = arrow->table->columns[column].kind == TABLE_TEXT;
	unsigned char *valid = take_buffer(arrow, (arrow->rows + 7) / 8), *data, *ends;
	size_t nulls = 0, size = 0, used = 0;

	for (size_t row = 0; row < arrow->rows; row++) {
		const struct table_cell *cell = cell_of(arrow, row, column);

		if (cell->null)
			nulls++;
		else
			valid[row / 8] |= (unsigned char)(1 << row % 8);
		size += text && !cell->null ? strlen(cell->text) : 0;
	}
	if (!text) {
		data = take_buffer(arrow, 8 * arrow->rows);
		for (size_t row = 0; row < arrow->rows; row++)
			put_little(data + 8 * row, cell_of(arrow, row, column)->null ? 0 : cell_of(arrow, row, column)->number, 8);
		return nulls;
	}
	ends = take_buffer(arrow, 4 * (arrow->rows + 1));
	data = take_buffer(arrow, size);
	for (size_t row = 0; row < arrow->rows; row++) {
		const struct table_cell *cell = cell_of(arrow, row, column);
		const size_t length = cell->null ? 0 : strlen(cell->text);

		memcpy(data + used, cell->null ? "" : cell->text, length);
		used += length;
		put_little(ends + 4 * (row + 1), used, 4);
	}
	return nulls;
}

static void write_batch(struct arrow *arrow)
{
	static const uint8_t sizes[BATCH_FIELDS] = { [BATCH_LENGTH] = 8, [BATCH_NODES] = 4, [BATCH_BUFFERS] = 4 };
	size_t nulls[TABLE_COLUMNS_MAX], at[BATCH_FIELDS], list;
	uint64_t offset = 0, body_size = 0;
	struct block block = { .offset = arrow->position };

	arrow->buffer_count = 0;
	for (unsigned i = 0; i < arrow->column_count; i++)
		nulls[i] = make_buffers(arrow, i);
	for (unsigned i = 0; i < arrow->buffer_count; i++)
		body_size += (arrow->buffers[i].size + 7) & ~(size_t)7;
	flat_table(&arrow->flat, begin_message(arrow, HEADER_RECORD_BATCH, body_size), sizes, BATCH_FIELDS, at);
	flat_put(&arrow->flat, at[BATCH_LENGTH], arrow->rows, 8);
	list = flat_vector(&arrow->flat, at[BATCH_NODES], arrow->column_count, NODE_SIZE);
	for (unsigned i = 0; i < arrow->column_count; i++) {
		flat_put(&arrow->flat, list + NODE_SIZE * (size_t)i, arrow->rows, 8);
		flat_put(&arrow->flat, list + NODE_SIZE * (size_t)i + 8, nulls[i], 8);
	}
	list = flat_vector(&arrow->flat, at[BATCH_BUFFERS], arrow->buffer_count, BUFFER_SIZE);
	for (unsigned i = 0; i < arrow->buffer_count; i++) {
		flat_put(&arrow->flat, list + BUFFER_SIZE * (size_t)i, offset, 8);
		flat_put(&arrow->flat, list + BUFFER_SIZE * (size_t)i + 8, arrow->buffers[i].size, 8);
		offset += (arrow->buffers[i].size + 7) & ~(size_t)7;
	}
	block.metadata_size = write_message(arrow);
	block.body_size = body_size;
	for (unsigned i = 0; i < arrow->buffer_count; i++) {
		write_bytes(arrow, arrow->buffers[i].bytes, arrow->buffers[i].size);
		free(arrow->buffers[i].bytes);
	}
	arrow->blocks = memory_grow(arrow->blocks, &arrow->block_capacity, arrow->block_count + 1, sizeof(*arrow->blocks));
	arrow->blocks[arrow->block_count++] = block;
	arrow->rows = 0;
}

static void write_footer(struct arrow *arrow)
{
	static const uint8_t sizes[FOOTER_FIELDS] = { [FOOTER_VERSION] = 2, [FOOTER_SCHEMA] = 4, [FOOTER_DICTIONARIES] = 4,
		[FOOTER_BATCHES] = 4 };
	static const unsigned char end_of_stream[8] = { 0xff, 0xff, 0xff, 0xff };
	struct flat *flat = &arrow->flat;
	size_t at[FOOTER_FIELDS], list;
	unsigned char size[4];

	write_bytes(arrow, end_of_stream, sizeof(end_of_stream));
	flat_begin(flat);
	flat_table(flat, 0, sizes, FOOTER_FIELDS, at);
	flat_put(flat, at[FOOTER_VERSION], VERSION_5, 2);
	put_schema(arrow, at[FOOTER_SCHEMA]);
	flat_vector(flat, at[FOOTER_DICTIONARIES], 0, BLOCK_SIZE);
	list = flat_vector(flat, at[FOOTER_BATCHES], arrow->block_count, BLOCK_SIZE);
	for (size_t i = 0; i < arrow->block_count; i++) {
		flat_put(flat, list + BLOCK_SIZE * i, arrow->blocks[i].offset, 8);
		flat_put(flat, list + BLOCK_SIZE * i + 8, arrow->blocks[i].metadata_size, 4);
		flat_put(flat, list + BLOCK_SIZE * i + 16, arrow->blocks[i].body_size, 8);
	}
	fwrite(flat->bytes, 1, flat->used, arrow->export->file);
	put_little(size, flat->used, sizeof(size));
	fwrite(size, 1, sizeof(size), arrow->export->file);
	fwrite("ARROW1", 1, 6, arrow->export->file);
}

static bool arrow_write(const struct export *export, struct error *error)
{
	struct arrow arrow = { .export = export };
	struct table_reader reader;
	size_t text = 0;

	if (!table_begin(&reader, export, error))
		return false;
	arrow.table = reader.table;
	arrow.column_count = table_column_count(reader.table);
	arrow.cells = memory_new(BATCH_ROWS_MAX * (size_t)arrow.column_count, sizeof(*arrow.cells));
	write_bytes(&arrow, "ARROW1\0\0", 8);
	put_schema(&arrow, begin_message(&arrow, HEADER_SCHEMA, 0));
	write_message(&arrow);
	while (table_next(&reader, &arrow.cells[arrow.rows * arrow.column_count])) {
		for (unsigned i = 0; i < arrow.column_count; i++) {
			const struct table_cell *cell = cell_of(&arrow, arrow.rows, i);

			text += arrow.table->columns[i].kind == TABLE_TEXT && !cell->null ? strlen(cell->text) : 0;
		}
		if (++arrow.rows == BATCH_ROWS_MAX || text > BATCH_TEXT_MAX) {
			write_batch(&arrow);
			text = 0;
		}
	}
	if (arrow.rows)
		write_batch(&arrow);
	write_footer(&arrow);
	flat_finish(&arrow.flat);
	free(arrow.blocks);
	free(arrow.cells);
	return table_end(&reader, error);
}

const struct export_format export_arrow = {
	.name = "arrow",
	.ending = ".arrow",
	.summary = "pandas, polars, DuckDB, R: one table of --table",
	.flags = EXPORT_BINARY | EXPORT_TABLE,
	.timeline_points = 1000,
	.write = arrow_write,
};

// SPDX-License-Identifier: GPL-2.0
/*
 * traffic: sends paced RTP into a device and counts what arrives at another, without sockets on either end.
 *
 *   traffic OBJECT generate DEVICE|drop SPARE FLOWS PAYLOAD
 *       SPARE is a device without traffic that can carry a native XDP program.
 *       FLOWS holds lines "source-mac destination-mac source-ip destination-ip source-port destination-port ssrc".
 *       Then each line "RATE SECONDS BATCH" on standard input is one window: packets per second, how long, and how
 *       many frames may go out in one breath. Answer: "SENT NANOSECONDS CPU-NANOSECONDS LATE". LATE counts the packets
 *       that were due but never sent because the machine did not keep up.
 *   traffic OBJECT replay DEVICE|drop SPARE FLOWS PACKETS
 *       The same with payloads made beforehand: at each window the file PACKETS holds RECORDED_BYTES for each packet, the
 *       first for the first flow, the next for the next, and again from the first.
 *   traffic OBJECT sink DEVICE xdp|tc ADDRESS UDP-BYTES PORTS EVERY SAMPLES
 *       PORTS holds one receiver's port per line. Of each EVERY packets (a power of two; 0: never) one is kept, and
 *       written to the file SAMPLES as a struct bench_sample of its own length when a count is asked for.
 *       Each line on standard input asks for a count since the last one.
 *       Answer: "PACKETS BYTES CHECKED BAD STRAY RECEIVERS LEAST MOST", the last two per receiver.
 *
 * All print "ready" first. They end with their standard input, and what they attached goes with them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/types.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>

#include "frames.h"

#define NS_PER_SECOND 1000000000ull
#define TICK_NS 1000000ull /* one breath of frames per millisecond, or one frame at a time where that is longer */
#define LATE_NS 20000000ull /* a tick that comes later than this is skipped and said, not made up for in a burst */
#define MAX_FRAME 1514

static void die(const char *what)
{
	fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned long long now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * NS_PER_SECOND + t.tv_nsec;
}

static void sleep_until(unsigned long long when)
{
	struct timespec t = {.tv_sec = when / NS_PER_SECOND, .tv_nsec = when % NS_PER_SECOND};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static struct bpf_object *open_object(const char *path, const char *program)
{
	struct bpf_object *object = bpf_object__open(path);
	struct bpf_program *each;

	if (!object)
		die(path);
	bpf_object__for_each_program(each, object)
		bpf_program__set_autoload(each, !strcmp(bpf_program__name(each), program));
	if (strcmp(program, "replay"))
		bpf_map__set_autocreate(bpf_object__find_map_by_name(object, "recorded"), false);
	return object;
}

/* Load with these constants. */
static void load(struct bpf_object *object, const struct bench_settings *settings)
{
	if (bpf_map__set_initial_value(bpf_object__find_map_by_name(object, ".rodata"), settings, sizeof(*settings))
	    || bpf_object__load(object))
		die("load");
}

static int program_fd(struct bpf_object *object, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(object, name));
}

static int map_fd(struct bpf_object *object, const char *name)
{
	return bpf_map__fd(bpf_object__find_map_by_name(object, name));
}

/* Sum of 16-bit words as they lie in memory (RFC 1071 does not care about the byte order). */
static __u32 words(const void *data, size_t bytes)
{
	const __u8 *at = data;
	__u32 sum = 0;

	for (; bytes > 1; at += 2, bytes -= 2) {
		__u16 word;

		memcpy(&word, at, 2);
		sum += word;
	}
	return sum;
}

static __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static void put16(__u8 *at, __u16 value)
{
	value = htons(value);
	memcpy(at, &value, 2);
}

static int parse_mac(const char *text, __u8 *mac)
{
	return sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) == 6;
}

static void build_flow(const char *line, const __u8 *payload, size_t payload_bytes, struct bench_flow *flow)
{
	char source_mac[18], target_mac[18], source[16], target[16];
	unsigned int source_port, target_port, ssrc;
	__u8 *ip = flow->header + 14, *udp = ip + 20, *rtp = udp + 8;
	__u16 check;

	memset(flow, 0, sizeof(*flow));
	if (sscanf(line, "%17s %17s %15s %15s %u %u %u", source_mac, target_mac, source, target, &source_port, &target_port,
		   &ssrc) != 7 || !parse_mac(target_mac, flow->header) || !parse_mac(source_mac, flow->header + 6)) {
		errno = EINVAL;
		die(line);
	}
	put16(flow->header + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, 20 + 8 + 12 + payload_bytes);
	put16(ip + 6, 0x4000); /* don't fragment */
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	if (inet_pton(AF_INET, source, ip + 12) != 1 || inet_pton(AF_INET, target, ip + 16) != 1) {
		errno = EINVAL;
		die(line);
	}
	check = ~fold(words(ip, 20));
	memcpy(ip + 10, &check, 2);
	put16(udp, source_port);
	put16(udp + 2, target_port);
	put16(udp + 4, 8 + 12 + payload_bytes);
	rtp[0] = 0x80; /* version 2, payload type 0: PCMU */
	ssrc = htonl(ssrc);
	memcpy(rtp + 8, &ssrc, 4);
	flow->udp_sum = words(ip + 12, 8) + htons(IPPROTO_UDP) + words(udp + 4, 2) + words(udp, 20) + words(payload, payload_bytes);
	flow->udp_sum = fold(flow->udp_sum);
	flow->sequence = source_port; /* somewhere, and elsewhere for each */
	flow->step = 160;
}

/* One stretch of sending at a steady rate. Returns how many were sent. */
static unsigned long long run_window(int program, __u8 *frame, size_t bytes, double rate, double seconds, unsigned int batch)
{
	unsigned long long cpu = now(CLOCK_PROCESS_CPUTIME_ID), start = now(CLOCK_MONOTONIC), sent = 0, late = 0;
	unsigned long long tick = 1e9 / rate > TICK_NS ? 1e9 / rate : TICK_NS, ticks = seconds * 1e9 / tick;
	double per_tick = rate * tick / 1e9;

	for (unsigned long long i = 0; i < ticks; i++) {
		unsigned long long due = (unsigned long long)((i + 1) * per_tick) - (unsigned long long)(i * per_tick);
		LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame, .data_size_in = bytes, .repeat = due,
			    .batch_size = batch, .flags = BPF_F_TEST_XDP_LIVE_FRAMES);

		sleep_until(start + i * tick);
		if (now(CLOCK_MONOTONIC) > start + i * tick + LATE_NS) {
			late += due;
			continue;
		}
		if (due && bpf_prog_test_run_opts(program, &run))
			die("test run");
		sent += due;
	}
	sleep_until(start + ticks * tick);
	printf("%llu %llu %llu %llu\n", sent, now(CLOCK_MONOTONIC) - start, now(CLOCK_PROCESS_CPUTIME_ID) - cpu, late);
	return sent;
}

/* Put the file's packets where the program will look next, `sent` having gone before. */
static void load_recorded(int map, const char *name, const struct bench_flow *flows, unsigned int count,
			  unsigned long long sent)
{
	struct bench_recorded packet;
	FILE *file = fopen(name, "r");

	if (!file)
		die(name);
	for (unsigned int i = 0; i < MAX_RECORDED && fread(packet.data, RECORDED_BYTES, 1, file) == 1; i++) {
		const struct bench_flow *flow = &flows[i % count];
		__u32 index = (sent + i) % MAX_RECORDED;

		packet.flow = i % count;
		packet.udp_check = ~fold(words(flow->header + 26, 8) + htons(IPPROTO_UDP) + words(flow->header + 38, 2)
					 + words(flow->header + 34, 6) + words(packet.data, RECORDED_BYTES));
		if (!packet.udp_check)
			packet.udp_check = 0xffff;
		if (bpf_map_update_elem(map, &index, &packet, 0))
			die("recorded");
	}
	fclose(file);
}

/* `packets`: the file of those made beforehand; NULL: made here, always the same but for their numbers. */
static void generate(const char *path, const char *device, const char *spare, const char *flow_file, size_t payload_bytes,
		     const char *packets)
{
	const char *name = packets ? "replay" : "generate";
	struct bpf_object *object = open_object(path, name);
	static struct bench_flow flows[MAX_FLOWS];
	__u8 frame[MAX_FRAME] = {0};
	unsigned int count = 0, ifindex = 0;
	unsigned long long sent = 0;
	char line[256];
	FILE *file = fopen(flow_file, "r");

	if (!file)
		die(flow_file);
	if (payload_bytes % 2 || HEADER_BYTES + payload_bytes > MAX_FRAME) {
		errno = EINVAL;
		die("payload");
	}
	for (size_t i = 0; i < payload_bytes; i++)
		frame[HEADER_BYTES + i] = i * 7;
	while (count < MAX_FLOWS && fgets(line, sizeof(line), file))
		build_flow(line, frame + HEADER_BYTES, payload_bytes, &flows[count++]);
	fclose(file);
	if (strcmp(device, "drop") && !(ifindex = if_nametoindex(device)))
		die(device);
	load(object, &(struct bench_settings){.flow_count = count, .out_ifindex = ifindex});
	for (__u32 i = 0; i < count; i++)
		if (bpf_map_update_elem(map_fd(object, "flows"), &i, &flows[i], 0))
			die("flows");
	/*
	 * A test run puts its program into the XDP dispatcher and waits for an RCU grace period, some 25 ms, when it is
	 * the first to do so. Attached somewhere, the program is already there and a run costs microseconds.
	 */
	if (!bpf_program__attach_xdp(bpf_object__find_program_by_name(object, name), if_nametoindex(spare)))
		die(spare);

	printf("ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		double rate, seconds;
		unsigned int batch;

		if (sscanf(line, "%lf %lf %u", &rate, &seconds, &batch) != 3 || rate <= 0 || !batch) {
			errno = EINVAL;
			die(line);
		}
		if (packets)
			load_recorded(map_fd(object, "recorded"), packets, flows, count, sent);
		sent += run_window(program_fd(object, name), frame, HEADER_BYTES + payload_bytes, rate, seconds, batch);
	}
}

static __u64 per_cpu_sum(const __u64 *values, int cpus)
{
	__u64 sum = 0;

	for (int i = 0; i < cpus; i++)
		sum += values[i];
	return sum;
}

static void attach_sink(struct bpf_object *object, const char *mode, int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = program_fd(object, "sink_tc"));

	if (!strcmp(mode, "xdp")) {
		if (!bpf_program__attach_xdp(bpf_object__find_program_by_name(object, "sink_xdp"), ifindex))
			die("attach xdp");
	} else if (bpf_tc_hook_create(&hook) || bpf_tc_attach(&hook, &options)) {
		die("attach tc");
	}
}

static int write_sample(void *file, void *data, size_t bytes)
{
	const struct bench_sample *sample = data;
	size_t used = offsetof(struct bench_sample, data) + sample->length;

	return bytes < used || fwrite(sample, used, 1, file) != 1 ? -1 : 0;
}

static void sink(const char *path, const char *device, const char *mode, const char *address, __u32 udp_bytes,
		 const char *port_file, __u32 every, const char *sample_file)
{
	struct bpf_object *object = open_object(path, strcmp(mode, "xdp") ? "sink_tc" : "sink_xdp");
	int cpus = libbpf_num_possible_cpus(), ifindex = if_nametoindex(device);
	static __u32 ports[PORTS];
	static __u64 seen[PORTS];
	__u64 before[TOTALS] = {0}, values[cpus];
	unsigned int count = 0;
	struct in_addr own;
	char line[64];
	__u8 one = 1;
	FILE *file = fopen(port_file, "r"), *kept = fopen(sample_file, "w");
	struct ring_buffer *samples;

	if (!file)
		die(port_file);
	if (!kept)
		die(sample_file);
	while (count < PORTS && fscanf(file, "%u", &ports[count]) == 1)
		count++;
	fclose(file);
	if (!ifindex || inet_pton(AF_INET, address, &own) != 1 || udp_bytes % 2 || every & (every - 1)) {
		errno = EINVAL;
		die(device);
	}
	load(object, &(struct bench_settings){
		.sink_address = own.s_addr,
		.sink_check_mask = 63, /* often enough to find a fault, seldom enough not to cost */
		.sink_udp_bytes = udp_bytes,
		.sink_sampled = every ? every - 1 : 0,
	});
	samples = ring_buffer__new(map_fd(object, "samples"), write_sample, kept, NULL);
	if (!samples)
		die("samples");
	for (unsigned int i = 0; i < count; i++)
		if (bpf_map_update_elem(map_fd(object, "receivers"), &ports[i], &one, 0))
			die("receivers");
	attach_sink(object, mode, ifindex);

	printf("ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		__u64 least = ~0ull, most = 0, reached = 0;

		if (ring_buffer__consume(samples) < 0 || fflush(kept))
			die(sample_file);
		for (__u32 i = 0; i < TOTALS; i++) {
			bpf_map_lookup_elem(map_fd(object, "totals"), &i, values);
			__u64 sum = per_cpu_sum(values, cpus);
			printf("%llu ", sum - before[i]);
			before[i] = sum;
		}
		for (unsigned int i = 0; i < count; i++) {
			bpf_map_lookup_elem(map_fd(object, "delivered"), &ports[i], values);
			__u64 sum = per_cpu_sum(values, cpus), fresh = sum - seen[i];
			seen[i] = sum;
			reached += fresh > 0;
			least = fresh < least ? fresh : least;
			most = fresh > most ? fresh : most;
		}
		printf("%llu %llu %llu\n", reached, least, most);
	}
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	prctl(PR_SET_PDEATHSIG, 9); /* a benchmark that dies takes its traffic along */
	prctl(PR_SET_TIMERSLACK, 1);
	setpriority(PRIO_PROCESS, 0, -20); /* nobody asks a network card to wait for the scheduler */
	if (argc == 7 && !strcmp(argv[2], "generate"))
		generate(argv[1], argv[3], argv[4], argv[5], strtoul(argv[6], NULL, 10), NULL);
	else if (argc == 7 && !strcmp(argv[2], "replay"))
		generate(argv[1], argv[3], argv[4], argv[5], RECORDED_BYTES + RTP_OFFSET - HEADER_BYTES, argv[6]);
	else if (argc == 10 && !strcmp(argv[2], "sink"))
		sink(argv[1], argv[3], argv[4], argv[5], strtoul(argv[6], NULL, 10), argv[7], strtoul(argv[8], NULL, 10),
		     argv[9]);
	else
		fprintf(stderr, "usage: see the head of traffic.c\n");
	return argc < 6;
}

/* The peer of modbus_tcp.py: the same reads by libmodbus, in C, one connection after the other.
   usage: libmodbus_poller SECONDS UNITS POINTS PORT...
   prints: values read and decoded, CPU seconds of this process, wall seconds */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double cpu_s(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int count, char **words) {
    if (count < 5) {
        fprintf(stderr, "usage: %s SECONDS UNITS POINTS PORT...\n", words[0]);
        return 2;
    }
    double seconds = atof(words[1]);
    int units = atoi(words[2]), points = atoi(words[3]), links = count - 4;
    modbus_t **link = calloc(links, sizeof *link);
    for (int i = 0; i < links; i++) {
        link[i] = modbus_new_tcp("127.0.0.1", atoi(words[4 + i]));
        if (link[i] == NULL || modbus_connect(link[i]) != 0) {
            fprintf(stderr, "port %s: %s\n", words[4 + i], modbus_strerror(errno));
            return 1;
        }
    }
    uint16_t registers[MODBUS_MAX_READ_REGISTERS];
    double sum = 0, begun_s = now_s(), begun_cpu_s = cpu_s();
    long values = 0;
    while (now_s() - begun_s < seconds) {
        for (int unit = 1; unit <= units; unit++) {
            for (int i = 0; i < links; i++) {
                modbus_set_slave(link[i], unit);
                if (modbus_read_input_registers(link[i], 0, 2 * points, registers) != 2 * points) {
                    fprintf(stderr, "unit %d: %s\n", unit, modbus_strerror(errno));
                    return 1;
                }
                for (int point = 0; point < points; point++) {
                    sum += modbus_get_float_abcd(registers + 2 * point);
                }
                values += points;
            }
        }
    }
    printf("%ld %f %f %g\n", values, cpu_s() - begun_cpu_s, now_s() - begun_s, sum);
    return 0;
}

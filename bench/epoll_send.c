/* The floor: an epoll server that does nothing but send().
 *
 * Usage: epoll_send PORT
 *
 * It answers every handshake with the same bytes, and gives each text frame
 * that a client sends to all clients, with one send() each. It knows one kind
 * of frame: masked with zeros, 126 to 65535 bytes. One client publishes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD 8 /* opcode, 0xfe, two bytes of length, four of mask */

static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\n"
                             "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
static int clients[65536], count;
static unsigned char buffer[1 << 18];
static size_t held;

static void send_to_all(const unsigned char *data, size_t size) {
    for (int i = 0; i < count; i++)
        send(clients[i], data, size, MSG_NOSIGNAL);
}

static void take_frames(void) {
    size_t at = 0;
    while (held - at >= HEAD) {
        unsigned char *head = buffer + at, *frame = head + 4;
        size_t size = head[2] << 8 | head[3];
        if (held - at < HEAD + size)
            break;
        at += HEAD + size;
        /* The header without a mask, in place of the mask. */
        memcpy(frame, (unsigned char[]){0x81, 126, head[2], head[3]}, 4);
        send_to_all(frame, 4 + size);
    }
    memmove(buffer, buffer + at, held - at);
    held -= at;
}

static void drop(int fd) {
    for (int i = 0; i < count; i++)
        if (clients[i] == fd)
            clients[i] = clients[--count];
    close(fd);
}

static void take(int fd) {
    ssize_t size = recv(fd, buffer + held, sizeof buffer - held, 0);
    if (size <= 0) {
        drop(fd);
    } else if (!memcmp(buffer + held, "GET ", 4)) {
        send(fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL);
        clients[count++] = fd;
    } else {
        held += size;
        take_frames();
    }
}

int main(int argc, char **argv) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, epoll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        return 1;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(epoll, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            if (ready[i].data.fd != listener) {
                take(ready[i].data.fd);
                continue;
            }
            event.data.fd = accept(listener, NULL, NULL);
            setsockopt(event.data.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
        }
    }
}

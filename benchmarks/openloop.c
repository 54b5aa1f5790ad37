/* Sends HTTP requests at times that do not wait for answers, and measures from the time at which each was due.
 *
 *     cc -O2 -o openloop openloop.c -lm
 *     openloop PORT BODIES RATE SECONDS CONNECTIONS
 *
 * BODIES has a JSON body on each line; they are sent one after the other to 127.0.0.1:PORT/predict. Request k is due
 * k / RATE seconds after the start and goes out over the connection that has been idle for longest; if all wait for an
 * answer, it goes out when the first has one, and is still timed from when it was due, so that a server which stalls
 * is not measured by the requests alone that it was asked while it did not ("coordinated omission"). A RATE of 0 sends
 * as soon as a connection is idle: what the server can do at most.
 *
 * Answers count if they come within SECONDS; those that are still due have ten seconds more, so that each request is
 * known to be answered or not. Prints one JSON object:
 *
 *     due, sent            requests whose time came, and those that found a connection
 *     answered, refused    answers 200 and 503 within SECONDS
 *     late                 both, after it
 *     other, lost          other statuses; connections that broke (each is opened anew) and requests without an answer
 *     p50_ms, p99_ms, max_ms, refused_p50_ms, refused_p99_ms    of the answers, from when they were due
 *     cpu                  cores that this process was busy for
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define ANSWER 65536
#define TICK_NS 250000 /* how exactly requests leave at their time */
#define DRAIN 10.0

typedef struct {
  int fd;
  int next; /* of the idle ones */
  int busy;
  double due;
  const char *left; /* of the request, what the socket did not take */
  size_t left_size, held;
  char *answer;
} Connection;

typedef struct {
  float *values;
  size_t count, room;
} Times;

static struct sockaddr_in address;
static int epoll_fd, idle_first = -1, idle_last = -1;
static Connection *connections;
static char **requests;
static size_t *sizes, request_count;
static double start;
static long answered, refused, late, other, lost;
static Times answer_times, refusal_times;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9 - start;
}

static void keep(Times *times, double seconds) {
  if (times->count == times->room) {
    times->room = times->room ? 2 * times->room : 1 << 16;
    times->values = realloc(times->values, times->room * sizeof(float));
    if (!times->values) die("memory");
  }
  times->values[times->count++] = (float)(seconds * 1e3);
}

static int smaller(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* The smallest value that at least this share of the values does not exceed; the values are sorted. */
static double quantile(const Times *times, double share) {
  if (!times->count) return 0;
  size_t place = (size_t)(share * (double)times->count);
  return times->values[place < times->count ? place : times->count - 1];
}

static void read_bodies(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) die(path);
  char *line = NULL;
  size_t room = 0, most = 0;
  ssize_t length;
  while ((length = getline(&line, &room, file)) > 0) {
    if (line[length - 1] == '\n') line[--length] = 0;
    if (request_count == most) {
      most = most ? 2 * most : 1024;
      requests = realloc(requests, most * sizeof(*requests));
      sizes = realloc(sizes, most * sizeof(*sizes));
      if (!requests || !sizes) die("memory");
    }
    int size = asprintf(&requests[request_count],
                        "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                        "Content-Length: %zd\r\n\r\n%s", length, line);
    if (size < 0) die("memory");
    sizes[request_count++] = (size_t)size;
  }
  free(line);
  fclose(file);
}

static void make_idle(int number) {
  connections[number].busy = 0;
  connections[number].next = -1;
  if (idle_last < 0) idle_first = number;
  else connections[idle_last].next = number;
  idle_last = number;
}

static void open_connection(int number) {
  Connection *one = &connections[number];
  int yes = 1;
  one->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (one->fd < 0 || connect(one->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
  setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  one->held = one->left_size = 0;
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)number};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, one->fd, &event)) die("epoll_ctl");
}

static void break_off(int number) {
  close(connections[number].fd);
  lost++;
  open_connection(number);
  if (connections[number].busy) make_idle(number);
}

static void watch(int number, unsigned events) {
  struct epoll_event event = {.events = events, .data.u32 = (unsigned)number};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connections[number].fd, &event)) die("epoll_ctl");
}

static void push(int number) {
  Connection *one = &connections[number];
  ssize_t size = send(one->fd, one->left, one->left_size, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (size < 0 && errno != EAGAIN) {
    break_off(number);
    return;
  }
  int waited = one->left_size == 0;
  if (size > 0) one->left += size, one->left_size -= (size_t)size;
  if (one->left_size || waited) watch(number, one->left_size ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void send_next(long number_of_request, double due) {
  int number = idle_first;
  Connection *one = &connections[number];
  if ((idle_first = one->next) < 0) idle_last = -1;
  one->busy = 1;
  one->due = due;
  one->held = 0;
  one->left = requests[(size_t)number_of_request % request_count];
  one->left_size = sizes[(size_t)number_of_request % request_count];
  push(number);
}

/* Bytes of the answer that are there at the beginning of the buffer, or 0 if it is not whole. */
static size_t whole(Connection *one) {
  one->answer[one->held] = 0;
  char *end = strstr(one->answer, "\r\n\r\n");
  if (!end) return 0;
  char *length = strcasestr(one->answer, "\r\ncontent-length:");
  if (!length || length > end) return 0;
  size_t size = (size_t)(end + 4 - one->answer) + strtoul(length + 17, NULL, 10);
  return size <= one->held ? size : 0;
}

static void receive(int number, double seconds) {
  Connection *one = &connections[number];
  ssize_t size = recv(one->fd, one->answer + one->held, ANSWER - 1 - one->held, MSG_DONTWAIT);
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0) {
    break_off(number);
    return;
  }
  one->held += (size_t)size;
  if (!whole(one)) return;
  double time = now();
  int status = atoi(one->answer + 9);
  if (status != 200 && status != 503) other++;
  else if (time > seconds) late++;
  else if (status == 200) answered++;
  else refused++;
  if (status == 200 || status == 503) keep(status == 200 ? &answer_times : &refusal_times, time - one->due);
  make_idle(number);
}

/* Wait for the next tick or for sockets, and do what can be done. */
static void turn(int timer, int many, double seconds) {
  struct epoll_event events[512];
  int ready = epoll_wait(epoll_fd, events, 512, -1);
  for (int i = 0; i < ready; i++) {
    int number = (int)events[i].data.u32;
    unsigned long long ticks;
    if (number == many) (void)!read(timer, &ticks, sizeof ticks);
    else if (events[i].events & EPOLLOUT) push(number);
    else receive(number, seconds);
  }
}

static double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

int main(int count, char **words) {
  if (count != 6) {
    fprintf(stderr, "usage: openloop PORT BODIES RATE SECONDS CONNECTIONS\n");
    return 2;
  }
  double rate = atof(words[3]), seconds = atof(words[4]);
  int many = atoi(words[5]);
  read_bodies(words[2]);
  if (!request_count || seconds <= 0 || many <= 0) return 2;
  address.sin_family = AF_INET;
  address.sin_port = htons((unsigned short)atoi(words[1]));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  epoll_fd = epoll_create1(0);
  connections = calloc((size_t)many, sizeof(Connection));
  if (epoll_fd < 0 || !connections) die("memory");
  for (int i = 0; i < many; i++) {
    connections[i].answer = malloc(ANSWER);
    open_connection(i);
    make_idle(i);
  }
  int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct itimerspec tick = {{0, TICK_NS}, {0, TICK_NS}};
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)many};
  if (timer < 0 || timerfd_settime(timer, 0, &tick, NULL) || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer, &event))
    die("timer");
  start = now();
  double cpu = cpu_seconds();
  long sent = 0;
  double time;
  while ((time = now()) < seconds) {
    while (idle_first >= 0 && (rate == 0 || (double)sent / rate <= time)) {
      send_next(sent, rate == 0 ? now() : (double)sent / rate);
      sent++;
    }
    turn(timer, many, seconds);
  }
  for (; idle_first >= 0 && rate > 0 && (double)sent / rate < seconds; sent++) /* due since the last tick */
    send_next(sent, (double)sent / rate);
  cpu = cpu_seconds() - cpu;
  long open = 1;
  while (open && now() < seconds + DRAIN) {
    turn(timer, many, seconds);
    open = 0;
    for (int i = 0; i < many; i++) open += connections[i].busy;
  }
  qsort(answer_times.values, answer_times.count, sizeof(float), smaller);
  qsort(refusal_times.values, refusal_times.count, sizeof(float), smaller);
  printf("{\"due\": %ld, \"sent\": %ld, \"seconds\": %.3f, \"answered\": %ld, \"refused\": %ld, \"late\": %ld, "
         "\"other\": %ld, \"lost\": %ld, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, "
         "\"refused_p50_ms\": %.3f, \"refused_p99_ms\": %.3f, \"cpu\": %.3f}\n",
         rate == 0 ? sent : (long)ceil(rate * seconds), sent, seconds, answered, refused, late, other, lost + open,
         quantile(&answer_times, 0.5), quantile(&answer_times, 0.99), quantile(&answer_times, 1),
         quantile(&refusal_times, 0.5), quantile(&refusal_times, 0.99), cpu / seconds);
  return 0;
}

/* How the kernel is built for QEMU's `virt` machine at EL1. The port's README says what each setting must be. */
#ifndef FREERTOS_CONFIG_H
#define FREERTOS_CONFIG_H

#include <stdint.h>
#include <string.h> /* the port uses memset without saying so */

#define configTICK_RATE_HZ 1000
#define configTICK_TYPE_WIDTH_IN_BITS TICK_TYPE_WIDTH_64_BITS
#define configMAX_PRIORITIES 8
#define configMINIMAL_STACK_SIZE 512 /* words of 8 bytes; each task keeps its 528 bytes of FP registers there too */
#define configMAX_TASK_NAME_LEN 16
#define configTOTAL_HEAP_SIZE (256 * 1024)

#define configUSE_PREEMPTION 1
#define configUSE_TIME_SLICING 1
#define configUSE_IDLE_HOOK 1
#define configUSE_TICK_HOOK 0
#define configUSE_MUTEXES 1
#define configUSE_TRACE_FACILITY 1
#define configUSE_TASK_NOTIFICATIONS 1
#define configQUEUE_REGISTRY_SIZE 0
#define configCHECK_FOR_STACK_OVERFLOW 2
#define configSUPPORT_DYNAMIC_ALLOCATION 1
#define configUSE_MALLOC_FAILED_HOOK 1

#define configUSE_TIMERS 1
#define configTIMER_TASK_PRIORITY 5
#define configTIMER_QUEUE_LENGTH 8
#define configTIMER_TASK_STACK_DEPTH configMINIMAL_STACK_SIZE

#define INCLUDE_vTaskDelay 1
#define INCLUDE_xTaskDelayUntil 1
#define INCLUDE_uxTaskGetStackHighWaterMark 1

/* 2: every task has an FP context, switched with the rest. */
#define configUSE_TASK_FPU_SUPPORT 2

/* The GIC: `virt` has five priority bits under virtualization, so count on those. */
#define configUNIQUE_INTERRUPT_PRIORITIES 32
#define configMAX_API_CALL_INTERRUPT_PRIORITY 18
#define configINTERRUPT_CONTROLLER_BASE_ADDRESS 0x08000000UL
#define configINTERRUPT_CONTROLLER_CPU_INTERFACE_OFFSET 0x10000UL /* GICv2 only */

void tick_start(void);
void tick_next(void);
#define configSETUP_TICK_INTERRUPT() tick_start()
#define configCLEAR_TICK_INTERRUPT() tick_next()

void assertion_failed(const char *file, int line);
#define configASSERT(condition) \
    do { \
        if (!(condition)) \
            assertion_failed(__FILE__, __LINE__); \
    } while (0)

#endif

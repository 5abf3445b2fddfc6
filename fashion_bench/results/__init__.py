"Records to tables, intervals, places, pictures and the report; without torch."

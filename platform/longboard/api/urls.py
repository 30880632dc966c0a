from django.urls import path

from longboard.api.api import api

urlpatterns = [path("v1/", api.urls)]
